"""The canonical report: what a run found, as data. Every other form is rendered from it."""

from __future__ import annotations

import string
from typing import Literal

import msgspec

from enginehouse_plugin.threadsafe import threadsafe

from .declared import Declared
from .rules import RULES, Level
from .targets import TargetFacts
from .verdicts import Verdict
from .wire.client import Header
from .wire.transcript import Exchange

REPORT_VERSION = 2
_LONGEST_MESSAGE = 300

Conforms = Literal["yes", "no", "unknown"]


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange behind a result, without secrets; `curl` is the command that repeats it (None in process)."""

    method: str
    url: str
    request_headers: list[Header]
    request_body: str
    status: int | None
    response_headers: list[Header]
    response_body: str
    duration_s: float
    fault: str | None
    retries: list[str]
    note: str | None
    curl: str | None

    @classmethod
    def of(cls, exchange: Exchange) -> Transcript:
        """The transcript of *exchange*."""
        return cls(**msgspec.structs.asdict(exchange), curl=exchange.curl() if "://" in exchange.url else None)


NOT_ASKED = "not asked: "
"""How the message of a result begins whose check was not even begun."""

REPEATS = (
    "another request got the very same answer, with the same id: the target, or a cache before it, answers requests "
    "with answers of others, and most other failures may come of that alone; mend ENV3 and run again"
)
"""What a rule notes where answers repeat, and a report has as its opening."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one rule came out. `transcripts` are kept for everything that did not pass."""

    rule: str
    level: Level
    verdict: Verdict
    message: str = ""
    expected: str = ""
    seen: str = ""
    notes: list[str] = []
    provisional: bool = False
    duration_s: float = 0.0
    requests: int = 0
    retries: list[str] = []
    transcripts: list[Transcript] = []

    @property
    def section(self) -> str:
        """The section of the rule."""
        return RULES[self.rule].section if self.rule in RULES else self.rule.rstrip(string.digits)

    @property
    def requirement(self) -> str:
        """What the rule requires; nothing where this suite does not have it."""
        return RULES[self.rule].requirement if self.rule in RULES else ""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """Of the rules of a level that apply and were judged (`total`), how many passed."""

    passed: int
    total: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The result in figures. `conforms` is about MUST rules (with `strict` also SHOULD)."""

    conforms: Conforms
    partial: bool
    must: Count
    should: Count
    may: Count
    verdicts: dict[str, int]


class SuiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which suite ran, on what."""

    name: str
    version: str
    specification: str
    python: str
    platform: str


@threadsafe
class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `reproduce` is the command that repeats it; `fault` says why a run ended before its rules did.

    `endpoints` says of each whether it is served. `opening` is what came in place of an answer to a first plain
    request, None where it was served. `notes` are what
    must be known of the report itself.
    """

    report_version: int
    suite: SuiteFacts
    started_at: str
    duration_s: float
    target: TargetFacts
    profile: str
    features: list[str]
    declared: Declared
    seed: int
    selection: str
    strict: bool
    reproduce: str
    fault: str | None
    opening: str | None = None
    notes: list[str] = []
    endpoints: dict[str, str] = {}
    summary: Summary
    results: list[Result]


def compact(report: Report) -> Report:
    """*report* with no more of each result than verdict, level and a message: without transcripts and times."""
    return msgspec.structs.replace(report, results=[_compact(result) for result in report.results])


def _compact(result: Result) -> Result:
    more = len(result.message) - _LONGEST_MESSAGE
    return Result(
        rule=result.rule,
        level=result.level,
        verdict=result.verdict,
        message=result.message if more <= 0 else f"{result.message[:_LONGEST_MESSAGE]}…",
        notes=result.notes,
        provisional=result.provisional,
        requests=result.requests,
    )


_JUDGED = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR)


def summarise(results: list[Result], *, strict: bool, partial: bool, is_cut_short: bool = False) -> Summary:
    """The figures of *results*.

    Any failure of a counted rule: does not conform. Else any counted rule that is inconclusive or in error, or
    no counted rule passed at all: unknown. Provisional rules are reported and never counted.
    """
    counted_levels = {"MUST", "SHOULD"} if strict else {"MUST"}
    counted = [
        result.verdict
        for result in results
        if result.level in counted_levels and not result.provisional and result.verdict in _JUDGED
    ]
    conforms: Conforms = "yes"
    if Verdict.FAIL in counted:
        conforms = "no"
    elif is_cut_short or not counted or any(verdict is not Verdict.PASS for verdict in counted):
        conforms = "unknown"
    verdicts = {verdict.value: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    return Summary(
        conforms=conforms,
        partial=partial or verdicts["disabled"] > 0,
        must=_count(results, "MUST"),
        should=_count(results, "SHOULD"),
        may=_count(results, "MAY"),
        verdicts=verdicts,
    )


def _count(results: list[Result], level: Level) -> Count:
    verdicts = [
        result.verdict
        for result in results
        if result.level == level and not result.provisional and result.verdict in _JUDGED
    ]
    return Count(passed=sum(verdict is Verdict.PASS for verdict in verdicts), total=len(verdicts))


def exit_code(report: Report) -> int:
    """0 conforms, 1 does not, 2 the harness could not tell."""
    return {"yes": 0, "no": 1, "unknown": 2}[report.summary.conforms]
