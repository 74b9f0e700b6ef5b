"""Writes docs/profiles: a page for each built-in profile, of its data and of the committed reports.

`python -m tests.docs.profile_pages` writes them; a test holds that they are as it would.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.conformance.engines import ENGINES, REPORTS, folder_of
from tests.conformance.table import committed

from enginehouse.dialects.mounts import ENDPOINTS
from enginehouse.dialects.profiles import built_in
from enginehouse_conformance import Verdict, read_report
from enginehouse_conformance.rules import SECTIONS
from enginehouse_plugin import Profile
from enginehouse_plugin.profile import Field

FOLDER = Path(__file__).parents[2] / "docs" / "profiles"
_LISTS = {True: ("models",), False: ("tags", "ps", "version")}
_NOT_PASSED = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)
_NOTE = "<!-- Written by `python -m tests.docs.profile_pages` of the profile's data: change that. -->"


def main() -> int:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Each page by the name of its file."""
    return {
        "README.md": "\n".join(_overview()) + "\n",
        **{f"{name}.md": "\n".join(_page(profile)) + "\n" for name, profile in built_in().items()},
    }


def _overview() -> Iterator[str]:
    yield from ("# Profiles", "", _NOTE, "")
    yield "The documented APIs that this server speaks to the letter. [Configuration](../configuration.md#mounts) says"
    yield "how to mount them side by side; what a document leaves open stands in each page's readings, with the setting"
    yield "that changes it. Plugins [bring more](../plugins.md#enginehouse_profiles)."
    yield ""
    rows = (
        (f"[{name}]({name}.md)", profile.title, f"`{_routes(profile)[0]}`", profile.description)
        for name, profile in built_in().items()
    )
    yield from _table(("profile", "API", "route", "what it is"), rows)


def _page(profile: Profile) -> Iterator[str]:
    yield from (f"# {profile.title}", "", _NOTE, "")
    yield f"{profile.description}. Document: {profile.document}."
    yield from ("", "```toml", "[[mounts]]", f'profile = "{profile.name}"', f'path = "/{profile.name}"', "```", "")
    posts = " and ".join(f"`POST /{profile.name}{route}`" for route in _routes(profile))
    lists = ", ".join(f"`GET /{profile.name}{profile.base_path}/{name}`" for name in _LISTS[_is_chat(profile)])
    yield f"serves {posts}, and {lists}."
    if profile.fields:
        yield from ("", "## Fields of a request", "")
        if _is_chat(profile):
            yield "Other fields that the server knows stay accepted, unless `strict_profile = true`. *Engines*: which"
        else:
            yield "Those with a default; [the API](../api.md) has them all. *Engines*: which"
        yield "can do what the field asks for, by the committed reports; where nothing stands, it asks for nothing"
        yield "special."
        yield ""
        rows = ((f"`{place}`", *_row(place, field)) for place, field in profile.fields.items())
        yield from _table(("field", "type", "default", "allowed", "engines", "the document"), rows)
    if _is_chat(profile):
        yield from _forms(profile)
    if profile.answer:
        yield from ("", "## An answer", "", "Always has these, and may have more.", "")
        yield from _table(("field", "type"), ((f"`{place}`", kind) for place, kind in profile.answer.items()))
    if profile.errors:
        yield from ("", "## Statuses", "")
        yield from _table(("status", "what", "messages begin with", "also instead of"), _statuses(profile))
    if runs := list(_runs(profile)):
        yield from ("", "## Proven on", "")
        yield "What the conformance suite found of this profile on each engine, with random weights: rules that passed,"
        yield "of those that apply."
        yield ""
        yield from _table(("engine", "MUST", "SHOULD", "MAY", "not passed", "report"), runs)
    if profile.readings:
        yield from ("", "## Our readings", "", "Where the document is silent, or contradicts itself.", "")
        yield from _table(
            ("about", "the document", "what is done", "why", "setting"),
            (
                (each.about, each.document, each.ours, each.why, f"`{each.setting}`" if each.setting else "")
                for each in profile.readings
            ),
        )


def _forms(profile: Profile) -> Iterator[str]:
    yield from ("", "## Forms", "")
    roles = ", ".join(f"`{role}`" for role in profile.roles) or "all of OpenAI's"
    spans = {"choice": "each choice", "run": "all choices of a run together"}[profile.max_completion_tokens_spans]
    usage = {
        "on_request": "in a chunk of its own where `stream_options.include_usage` asks for it",
        "last_chunk": "in the last chunk, which brings the finish reason",
    }[profile.stream_usage]
    yield from _table(
        ("what", "how"),
        (
            ("roles of messages", roles),
            ("usage in a stream", usage),
            ("`max_completion_tokens` bounds", spans),
            (
                "`max_tokens` beyond the context",
                "400" if profile.max_tokens_must_fit else "as many as there is room for",
            ),
            ("`Retry-After` with", ", ".join(map(str, profile.retry_after))),
        ),
    )


def _is_chat(profile: Profile) -> bool:
    return "chat" in profile.endpoints


def _routes(profile: Profile) -> list[str]:
    query = "&".join(f"{name}={value}" for name, value in profile.query.items())
    paths = [ENDPOINTS[name](profile, label="", prefix=profile.base_path, names={}, unknown_fields=None,
                             unsupported=None, unsupported_by={}).path for name in profile.endpoints]  # fmt: skip
    return [path + (f"?{query}" if query else "") for path in paths]


def _row(place: str, field: Field) -> tuple[str, ...]:
    default = "required" if field.required else field.default_is if field.default is None else f"{field.default:g}"
    if field.other_defaults:
        default += f" (or {', '.join(f'{value:g}' for value in field.other_defaults)}: see the readings)"
    return (field.type, default, _allowed(field), _engines(place), field.description)


def _allowed(field: Field) -> str:
    said = []
    if field.minimum is not None or field.maximum is not None:
        low = "" if field.minimum is None else f"{field.minimum:g}"
        high = "" if field.maximum is None else f"{field.maximum:g}"
        said.append(f"{low} to {high}".strip())
    if field.max_items is not None:
        said.append(f"at most {field.max_items}")
    if field.values:
        listed = ", ".join(f"`{value}`" for value in field.values)
        said.append(f"{listed}, and the rest of OpenAI's unless strict" if field.is_open else listed)
    return "; ".join(said)


def _engines(place: str) -> str:
    """The engines that have the features which *place* asks for; nothing where it asks for none."""
    wanted = [
        feature.name
        for section in SECTIONS.values()
        for feature in section.feature
        if place in feature.asks and place != "messages"
    ]
    if not wanted:
        return ""
    reports = {run.engine: set(run.report.features) for run in committed(REPORTS) if run.label == "tiny"}
    titles = [engine.title for name, engine in ENGINES.items() if reports[name] & set(wanted)]
    return ", ".join(titles) or "with a model that has it"


def _runs(profile: Profile) -> Iterator[tuple[str, ...]]:
    """What came out of the committed runs of the suite by *profile*, an engine a row."""
    for name, engine in ENGINES.items():
        folder = folder_of(name, "tiny", "http", profile.name)
        if not (REPORTS / folder / "report.json").exists():
            continue
        report = read_report(REPORTS / folder / "report.json")
        counts = (report.summary.must, report.summary.should, report.summary.may)
        failed = ", ".join(result.rule for result in report.results if result.verdict in _NOT_PASSED) or "none"
        some = " (some rules)" if report.summary.partial else ""
        link = f"[{folder}](../../conformance/reports/{folder}/report.json){some}"
        yield (engine.title, *(f"{count.passed} of {count.total}" for count in counts), failed, link)


def _statuses(profile: Profile) -> Iterator[tuple[str, ...]]:
    for status, said in profile.errors.items():
        others = ", ".join(str(own) for own, told in profile.statuses.items() if told == status)
        yield (str(status), said.title, said.words, others)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        cells = (cell.replace("|", "\\|") for cell in row)
        yield "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
