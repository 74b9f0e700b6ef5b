"""What every form of a report says in the same words."""

from __future__ import annotations

from enginehouse_conformance.results import Count, Report, Result, Transcript
from enginehouse_conformance.rules import RULES, Level
from enginehouse_conformance.verdicts import Verdict

UNSETTLED = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)
"""Verdicts that somebody must look at."""

_FAILED, _OPEN = (Verdict.FAIL,), (Verdict.ERROR, Verdict.INCONCLUSIVE)
_NAMED = 8
_SLOWEST = 5
_MOMENT_S = 1.0
_CONFORMS = {"yes": "{} conforms to", "no": "{} does not conform to", "unknown": "No verdict whether {} conforms to"}


def headline(report: Report) -> str:
    """The outcome in a sentence."""
    summary = report.summary
    levels = "MUST and SHOULD" if report.strict else "MUST"
    if report.fault is not None and not any(result.requests for result in report.results):
        return f"No verdict whether {report.target.model} conforms to the profile {report.profile}: nothing was asked."
    partial = " Partial: not all rules of the profile were run." if summary.partial else ""
    return (
        f"{_CONFORMS[summary.conforms].format(report.target.model)} the profile {report.profile} ({levels} rules): "
        f"{_level(report, 'MUST', summary.must)}, {_level(report, 'SHOULD', summary.should)}, "
        f"{_level(report, 'MAY', summary.may)}.{partial}"
    )


def _level(report: Report, level: Level, count: Count) -> str:
    """How many rules of *level* passed, and which of them failed or are open."""
    told = [f"{level.lower()} {count.passed}/{count.total}"]
    counted = [result for result in report.results if result.level == level and not result.provisional]
    for word, verdicts in (("fail", _FAILED), ("open", _OPEN)):
        rules = [result.rule for result in counted if result.verdict in verdicts]
        more = f" and {len(rules) - _NAMED} more" if len(rules) > _NAMED else ""
        told += [f"{word}: {', '.join(rules[:_NAMED])}{more}"] if rules else []
    return told[0] if len(told) == 1 else f"{told[0]} ({'; '.join(told[1:])})"


def facts(report: Report) -> list[tuple[str, str]]:
    """What ran on what, as pairs of name and value."""
    target = report.target
    pairs = [
        ("target", f"{target.kind} {target.address}"),
        ("model", target.model),
        ("server", target.server),
        ("hardware", target.hardware),
        ("query", "&".join(f"{name}={value}" for name, value in target.query.items())),
        ("profile", report.profile),
        ("endpoints", "; ".join(f"{name}: {state}" for name, state in report.endpoints.items())),
        ("declared features", ", ".join(report.features) or "none"),
        ("rules", report.selection),
        ("seed", str(report.seed)),
        ("suite", f"{report.suite.name} {report.suite.version}, specification {report.suite.specification}"),
        ("run on", f"Python {report.suite.python}, {report.suite.platform}"),
        ("started", report.started_at),
        ("duration", f"{report.duration_s:.1f} s"),
        ("slowest rules", slowest(report)),
        *(("note", note) for note in report.notes),
    ]
    return [(name, value) for name, value in pairs if value]


def slowest(report: Report) -> str:
    """The rules that took longest, of those that took more than a moment; some ran at the same time."""
    longest = sorted(report.results, key=lambda result: -result.duration_s)[:_SLOWEST]
    return ", ".join(f"{each.rule} {each.duration_s:.1f} s" for each in longest if each.duration_s >= _MOMENT_S)


def counts(report: Report) -> list[tuple[str, int]]:
    """How many rules came out how, in the order of the verdicts, be the report read or fresh."""
    return [(verdict.value, report.summary.verdicts[verdict]) for verdict in Verdict]


def reproduce(report: Report) -> str:
    """How to repeat the run: the command, or what stands in for it."""
    return report.reproduce or f"Run the same rules with the seed {report.seed} on the same target."


def unsettled(report: Report) -> list[Result]:
    """Results that somebody must look at: failures first, in the rules' order."""
    return [result for verdict in UNSETTLED for result in report.results if result.verdict is verdict]


def audited(report: Report) -> list[Result]:
    """Results of an audit: of these it is told what was found even where nothing is wrong."""
    rules = {rule.id for rule in RULES.values() if rule.audit}
    return [result for result in report.results if result.rule in rules and result.verdict not in UNSETTLED]


def answer_of(transcript: Transcript) -> str:
    """What came back, as text: status, headers and body, or the fault."""
    lines = []
    if transcript.status is not None:
        lines.append(f"status {transcript.status} after {transcript.duration_s:.3f} s")
        lines += [f"{name}: {value}" for name, value in transcript.response_headers]
    lines += ["", transcript.response_body] if transcript.response_body else []
    lines += [f"fault: {transcript.fault}"] if transcript.fault else []
    return "\n".join(lines) or "nothing"


def request_of(transcript: Transcript) -> str:
    """The command that sends the request again; in process, the request itself."""
    return transcript.curl or f"{transcript.method} {transcript.url} ({transcript.note})\n{transcript.request_body}"
