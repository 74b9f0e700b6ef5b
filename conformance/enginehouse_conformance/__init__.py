"""The conformance suite of Enginehouse: which parts of the chat-completions API does an endpoint really honour?

What other packages use of it stands here, and only that. A name is imported when it is used, so that importing the
package costs nothing.

    report = await run_suite(UrlTarget("http://127.0.0.1:8000/v1", model="m"), Options(quick=True))
    failed = [result.rule for result in report.results if result.verdict is Verdict.FAIL]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cli.progress import Progress as Progress
    from .cli.progress import progress_for as progress_for
    from .declared import Declared as Declared
    from .declared import read_declared as read_declared
    from .endpoints import ENDPOINTS as ENDPOINTS
    from .identity.asking import UrlAsker as UrlAsker
    from .identity.bands import BAND_OF as BAND_OF
    from .identity.comparison import Comparison as Comparison
    from .identity.comparison import ask_as as ask_as
    from .identity.comparison import compare_fingerprints as compare_fingerprints
    from .identity.comparison import compare_sides as compare_sides
    from .identity.measure import distance as distance
    from .identity.page import comparison_page as comparison_page
    from .identity.taking import Asker as Asker
    from .identity.taking import CannotCompare as CannotCompare
    from .identity.taking import Fingerprint as Fingerprint
    from .identity.taking import Probe as Probe
    from .identity.taking import encode_fingerprint as encode_fingerprint
    from .identity.taking import prompts_for as prompts_for
    from .identity.taking import read_fingerprint as read_fingerprint
    from .identity.taking import take_fingerprint as take_fingerprint
    from .identity.taking import top_of as top_of
    from .identity.words import comparison_text as comparison_text
    from .report import read_report as read_report
    from .report import write_report as write_report
    from .report.text import details as details
    from .report.text import printable as printable
    from .report.text import summary_text as summary_text
    from .report.words import unsettled as unsettled
    from .results import Report as Report
    from .results import Result as Result
    from .results import exit_code as exit_code
    from .rules import PROFILES as PROFILES
    from .rules import RULES as RULES
    from .rules import SECTIONS as SECTIONS
    from .rules import Rule as Rule
    from .runner import Options as Options
    from .runner import run_suite as run_suite
    from .runner import selected_rules as selected_rules
    from .selection import SelectionError as SelectionError
    from .selection import select as select
    from .suite import ConformanceSuite as ConformanceSuite
    from .targets import BackendTarget as BackendTarget
    from .targets import Target as Target
    from .targets import UrlTarget as UrlTarget
    from .verdicts import Verdict as Verdict

_PLACES = {
    "cli.progress": ("Progress", "progress_for"),
    "declared": ("Declared", "read_declared"),
    "endpoints": ("ENDPOINTS",),
    "identity.asking": ("UrlAsker",),
    "identity.bands": ("BAND_OF",),
    "identity.comparison": ("Comparison", "ask_as", "compare_fingerprints", "compare_sides"),
    "identity.measure": ("distance",),
    "identity.page": ("comparison_page",),
    "identity.taking": (
        "Asker", "CannotCompare", "Fingerprint", "Probe", "encode_fingerprint", "prompts_for", "read_fingerprint",
        "take_fingerprint", "top_of",
    ),
    "identity.words": ("comparison_text",),
    "report": ("read_report", "write_report"),
    "report.text": ("details", "printable", "summary_text"),
    "report.words": ("unsettled",),
    "results": ("Report", "Result", "exit_code"),
    "rules": ("PROFILES", "RULES", "SECTIONS", "Rule"),
    "runner": ("Options", "run_suite", "selected_rules"),
    "selection": ("SelectionError", "select"),
    "suite": ("ConformanceSuite",),
    "targets": ("BackendTarget", "Target", "UrlTarget"),
    "verdicts": ("Verdict",),
}  # fmt: skip
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public *name*, imported the first time that it is used."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PLACE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(_PLACE_OF)
