"""JUnit XML, as CI systems read it.

A failure is a failure at every level. `inconclusive` and `error` are errors: nothing was shown. What does not apply
to the target is skipped, with the reason.
"""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

from enginehouse_conformance.results import Report, Result
from enginehouse_conformance.verdicts import Verdict

from .words import answer_of, facts, request_of

_TAGS = {
    Verdict.FAIL: "failure",
    Verdict.ERROR: "error",
    Verdict.INCONCLUSIVE: "error",
    Verdict.UNSUPPORTED: "skipped",
    Verdict.NOT_APPLICABLE: "skipped",
    Verdict.DISABLED: "skipped",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> str:
    """The XML document."""
    root = ElementTree.Element("testsuites", name=f"{report.suite.name} {report.suite.version}")
    _count(root, report.results)
    for section, results in groupby(report.results, key=lambda result: result.section):
        root.append(_suite(report, section, list(results)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, section: str, results: list[Result]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=section, timestamp=report.started_at)
    _count(suite, results)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in facts(report):
        ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    for result in results:
        suite.append(_case(report, result))
    return suite


def _count(element: ElementTree.Element, results: list[Result]) -> None:
    tags = [_TAGS.get(result.verdict) for result in results]
    element.set("tests", str(len(tags)))
    element.set("failures", str(tags.count("failure")))
    element.set("errors", str(tags.count("error")))
    element.set("skipped", str(tags.count("skipped")))
    element.set("time", f"{sum(result.duration_s for result in results):.3f}")


def _case(report: Report, result: Result) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        classname=f"conformance.{report.profile}.{result.section}",
        name=f"{result.rule} ({result.level})",
        time=f"{result.duration_s:.3f}",
    )
    tag = _TAGS.get(result.verdict)
    if tag is not None:
        outcome = ElementTree.SubElement(case, tag, message=_text(f"{result.verdict.value}: {result.message}"))
        if tag != "skipped":
            outcome.set("type", f"{result.verdict.value} {result.level}")
            outcome.text = _text(_details(result))
    said = [result.message, *result.notes] if tag is None else result.notes
    if any(said):
        ElementTree.SubElement(case, "system-out").text = _text("\n".join(filter(None, said)))
    return case


def _details(result: Result) -> str:
    lines = [result.requirement, f"expected: {result.expected or '-'}", f"seen: {result.seen or result.message}"]
    for transcript in result.transcripts:
        lines += ["", request_of(transcript), answer_of(transcript)]
    return "\n".join(lines)


def _text(text: str) -> str:
    """*text* without the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
