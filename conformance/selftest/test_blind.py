"""A blind round says of each fault whether a rule sees it."""

from __future__ import annotations

from conformance_stub.blind import load, said_of
from conformance_stub.trial import run_on_stub

SHORTENS = '''
"""Answers lose their last word."""
def answer(answer, body):
    message = answer["choices"][0]["message"]
    message["content"] = message["content"].rpartition(" ")[0]
    return answer
'''
BREAKS = '''
"""Its own code breaks."""
def request(body):
    body.clear()
    raise KeyError("temperature")
'''


async def judged(tmp_path, text, rules):
    path = tmp_path / "fault.py"
    path.write_text(text)
    fault, behaviour = load(path)
    return fault, *said_of(await run_on_stub(behaviour, rules=rules))


async def test_a_fault_that_a_rule_sees_is_caught(tmp_path) -> None:
    assert await judged(tmp_path, SHORTENS, {"SSE6", "SMP1"}) == ("Answers lose their last word.", "MUST", ["SSE6"])


async def test_a_fault_that_no_rule_sees_is_missed(tmp_path) -> None:
    assert await judged(tmp_path, SHORTENS, {"SMP1"}) == ("Answers lose their last word.", "missed", [])


async def test_a_fault_whose_own_code_breaks_changes_nothing(tmp_path) -> None:
    assert await judged(tmp_path, BREAKS, {"SSE6", "SMP1"}) == ("Its own code breaks.", "missed", [])
