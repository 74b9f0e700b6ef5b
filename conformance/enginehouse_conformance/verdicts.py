"""Verdicts, and the exceptions by which a check ends with one that is not `pass`.

Ended
├── Failed          fail: expected and seen
├── Unclear         inconclusive: the target's behaviour allows no verdict (an unstable baseline, say)
├── NotInScope      not_applicable: the target does not offer what the rule is about
└── Recorded        info: nothing to judge, something to know
"""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """How a rule came out.

    `unsupported` needs a prior declaration of absence and an observed refusal: 400 naming the field.
    `error` is the harness's own: the target could not be asked, or the check itself broke.
    """

    PASS = "pass"  # noqa: S105  # a verdict, no password
    FAIL = "fail"
    UNSUPPORTED = "unsupported"
    NOT_APPLICABLE = "not_applicable"
    DISABLED = "disabled"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    INFO = "info"


class Ended(Exception):
    """Base: a check ended with a verdict other than `pass`."""

    verdict: Verdict

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Failed(Ended):
    """The rule is broken. *expected* and *seen* are sentences or values for people."""

    verdict = Verdict.FAIL

    def __init__(self, expected: str, seen: object = None) -> None:
        self.expected = expected
        self.seen = seen if isinstance(seen, str) else ("" if seen is None else repr(seen))
        super().__init__(f"expected {expected}" + (f"; seen {self.seen}" if self.seen else ""))


class Unclear(Ended):
    """No verdict is possible; the message says why."""

    verdict = Verdict.INCONCLUSIVE


class NotInScope(Ended):
    """The target does not offer what the rule is about; the message says what."""

    verdict = Verdict.NOT_APPLICABLE


class Recorded(Ended):
    """Something worth knowing, nothing to judge."""

    verdict = Verdict.INFO
