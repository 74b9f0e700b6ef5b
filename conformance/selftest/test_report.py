"""Every form of a report says what the canonical JSON says, and holds whatever a target sent."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jsonschema_rs
import msgspec
import pytest

from conformance_stub import Behaviour
from conformance_stub.trial import run_on_stub
from enginehouse_conformance import report as reports
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.results import Report, Result, SuiteFacts, Transcript, compact, exit_code, summarise
from enginehouse_conformance.targets import TargetFacts
from enginehouse_conformance.verdicts import Verdict

NASTY = 'a|b `c` ``` <script>alert(1)</script> & "q" \x00\x1b[31m \ud800 ]]> 日本 \n# heading'
SCHEMA = Path(reports.__file__).parent / "report.schema.json"
COMMITTED = sorted((Path(__file__).parents[1] / "reports").glob("*/report.json"))


def result_with(verdict: Verdict, number: int, level="MUST", **fields) -> Result:
    values = {"message": NASTY, "expected": NASTY, "seen": NASTY, "notes": [NASTY], **fields}
    transcript = Transcript(
        method="POST",
        url="http://127.0.0.1:1/v1/chat/completions",
        request_headers=[("authorization", "Bearer $API_KEY")],
        request_body=NASTY,
        status=200,
        response_headers=[("x-odd", NASTY)],
        response_body=NASTY,
        duration_s=0.1,
        fault=NASTY,
        retries=[],
        note=None,
        curl="curl -X POST " + NASTY,
    )
    return Result(
        rule=f"ENV{number}",
        level=level,
        verdict=verdict,
        transcripts=[] if verdict is Verdict.PASS else [transcript],
        **values,
    )


def report_of(results: list[Result], **fields) -> Report:
    values = {
        "report_version": 2,
        "suite": SuiteFacts(name="suite", version="1", specification="1", python="3", platform=NASTY),
        "started_at": "2026-11-01T00:00:00+00:00",
        "duration_s": 1.0,
        "target": TargetFacts(kind="url", address="http://127.0.0.1:1/v1", model=NASTY, server=NASTY),
        "profile": "openai",
        "features": ["n"],
        "declared": Declared(features=frozenset({"n"})),
        "seed": 7,
        "selection": "all",
        "strict": False,
        "reproduce": "enginehouse-conformance run http://127.0.0.1:1/v1 --seed 7",
        "fault": None,
        "summary": summarise(results, strict=False, partial=False),
        "results": results,
        **fields,
    }
    return Report(**values)


@pytest.fixture
def nasty() -> Report:
    """One result of each verdict, with everything that could break a form in its texts."""
    return report_of([result_with(verdict, number) for number, verdict in enumerate(Verdict, start=1)])


@pytest.fixture
def utf8(nasty) -> Report:
    """The same, as it is after it has been written: a lone surrogate cannot be."""
    return msgspec.json.decode(json.dumps(msgspec.to_builtins(nasty)).replace("\\ud800", "\\ufffd"), type=Report)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text += data


async def test_a_real_report_satisfies_the_published_schema() -> None:
    report = await run_on_stub(FlatErrors(), rules=("ENV1", "ERR1", "SSE1", "ERR7"))
    assert exit_code(report) == 1
    jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes())).validate(json.loads(reports.encode(report)))


class FlatErrors(Behaviour):
    def error(self, status, error, headers):
        return status, error["error"], headers


def test_a_report_with_every_verdict_satisfies_the_schema_and_a_spoilt_one_does_not(utf8) -> None:
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes()))
    data = json.loads(reports.encode(utf8))
    validator.validate(data)
    data["results"][0]["verdict"] = "perhaps"
    assert not validator.is_valid(data)


def test_the_published_schema_is_that_of_the_structs() -> None:
    assert json.loads(SCHEMA.read_bytes()) == json.loads(msgspec.json.encode(reports.schema()))


def test_the_summary_counts_every_verdict(nasty) -> None:
    assert nasty.summary.verdicts == {verdict.value: 1 for verdict in Verdict}
    assert (nasty.summary.must.passed, nasty.summary.must.total) == (1, 4)


def test_a_written_report_is_read_as_it_was(utf8, tmp_path) -> None:
    paths = reports.write_report(utf8, tmp_path / "a" / "b")
    assert [path.name for path in paths] == ["report.json", "junit.xml", "report.md", "report.html", "badge.svg"]
    assert reports.read_report(paths[0]) == utf8


def test_the_canonical_json_of_one_report_is_always_the_same(utf8) -> None:
    again = msgspec.structs.replace(utf8, declared=Declared(features=frozenset(["stop", "n", "seed"])))
    other = msgspec.structs.replace(utf8, declared=Declared(features=frozenset(["seed", "n", "stop"])))
    assert reports.encode(again) == reports.encode(other)


def test_the_json_has_a_line_for_each_rule(utf8) -> None:
    lines = reports.encode(utf8).decode().splitlines()
    rules = [line for line in lines if line.startswith('  {"rule":')]
    assert [json.loads(line.rstrip(","))["rule"] for line in rules] == [result.rule for result in utf8.results]
    assert len(lines) - len(rules) < 30


def test_a_compact_report_says_the_same_without_transcripts(utf8) -> None:
    small = compact(utf8)
    assert (small.summary, small.target, small.seed) == (utf8.summary, utf8.target, utf8.seed)
    for result, whole in zip(small.results, utf8.results, strict=True):
        assert (result.rule, result.level, result.verdict) == (whole.rule, whole.level, whole.verdict)
        assert (result.message, result.notes, result.transcripts) == (whole.message, whole.notes, [])


def test_a_compact_report_cuts_long_messages() -> None:
    small = compact(report_of([result_with(Verdict.FAIL, 1, message="x" * 10_000)]))
    assert len(small.results[0].message) == 301


@pytest.mark.parametrize("form", reports.FORMS)
def test_each_form_can_be_made_of_a_compact_report(form, utf8) -> None:
    _, render = reports.FORMS[form]
    assert render(compact(utf8))


def test_there_are_committed_reports() -> None:
    assert len(COMMITTED) > 10


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_a_committed_report_is_canonical_compact_and_of_the_schema(path) -> None:
    data = path.read_bytes()
    report = reports.read_report(path)
    assert reports.encode(compact(report)) == data
    jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes())).validate(json.loads(data))
    assert report.summary == summarise(report.results, strict=report.strict, partial=report.summary.partial)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"report_version": 1}', b'{"report_version": 99}'])
def test_what_is_no_report_is_refused_by_name(data, tmp_path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(reports.ReportError, match=r"x\.json"):
        reports.read_report(path)
    with pytest.raises(reports.ReportError, match=r"nowhere\.json"):
        reports.read_report(tmp_path / "nowhere.json")


def test_a_folder_that_cannot_be_written_is_named(utf8, tmp_path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(reports.ReportError, match="taken"):
        reports.write_report(utf8, tmp_path / "taken")


def test_junit_counts_failures_errors_and_skips(nasty) -> None:
    root = ElementTree.fromstring(reports.junit(nasty))
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8",
        "failures": "1",
        "errors": "2",
        "skipped": "3",
    }
    failure = root.find(".//failure")
    assert failure is not None
    assert "curl -X POST" in (failure.text or "")
    assert "日本" in (failure.text or "")


def test_markdown_keeps_tables_and_blocks_whole(nasty) -> None:
    text = reports.markdown(nasty)
    rows = [line for line in text.splitlines() if line.startswith("| ENV")]
    assert len(rows) == len(Verdict)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert "## How to reproduce" in text
    assert nasty.reproduce in text
    outside = re.sub(r"(?ms)^(`{3,})\w*$.*?^\1$", "", text)
    assert not re.search(r"(?<!\\)<script", outside)
    assert "\n# heading" not in outside


def test_html_needs_nothing_else_and_runs_nothing(nasty) -> None:
    page = Tags()
    page.feed(reports.html(nasty))
    tags = {tag for tag, _ in page.seen}
    assert not tags & {"script", "link", "img", "iframe"}
    links = [attributes["href"] for tag, attributes in page.seen if tag == "a"]
    anchors = {f"#{attributes['id']}" for _, attributes in page.seen if "id" in attributes}
    assert len(links) == len(Verdict)
    assert set(links) <= anchors
    assert nasty.reproduce in page.text
    assert "<script>alert(1)</script>" in page.text


def test_the_badge_says_how_many_of_how_many(nasty) -> None:
    text = "".join(ElementTree.fromstring(reports.badge(nasty)).itertext())
    assert "must 1/4" in text
    assert "%" not in text
    partial = msgspec.structs.replace(nasty, summary=summarise([], strict=False, partial=True))
    assert "must 0/0 (partial)" in reports.badge(partial)


def test_a_run_that_was_cut_short_says_why(nasty) -> None:
    cut = msgspec.structs.replace(nasty, fault="the target is gone")
    assert "the target is gone" in reports.markdown(cut)
    assert "the target is gone" in reports.html(cut)
