"""What real clients send, and what the API promises them, on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from msgspec.structs import replace
from tests.parity.engines import ENGINES
from tests.promises.asking import Outcome, faults, put
from tests.promises.asks import Ask, all_asks
from tests.promises.house import serving

ENGINE = ENGINES[0]  # the one that is always here; `python -m tests.promises` takes all


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving([ENGINE], tmp_path_factory.mktemp("promises")) as client:
        yield client


@pytest.mark.engine
@pytest.mark.parametrize("ask", all_asks(), ids=lambda ask: f"{ask.group}: {ask.name}")
def test_a_request_gets_what_is_promised(http: httpx.Client, ask: Ask) -> None:
    assert faults(ask, put(http, ask, ENGINE.backend)) == []


PLAIN = Ask(name="a", body={"messages": [], "n": 1})
GOOD = Outcome(status=200, finishes=("stop",), fingerprint="fp", total_tokens=7)


@pytest.mark.parametrize(
    ("ask", "came", "fault"),
    [
        (PLAIN, Outcome(status=400, code="bad"), "status is 400, not 200"),
        (replace(PLAIN, status=400, code="bad"), Outcome(status=400, code="other"), "code is 'other', not 'bad'"),
        (PLAIN, replace(GOOD, code="engine_failure"), "code is 'engine_failure', not None"),
        (PLAIN, replace(GOOD, left_out="seed"), "x-enginehouse-ignored is 'seed', not None"),
        (PLAIN, replace(GOOD, is_broken=True), "the stream has no end"),
        (PLAIN, replace(GOOD, finishes=()), "0 choices ended, not 1"),
        (replace(PLAIN, finish="length"), GOOD, "it ended with ('stop',), not length"),
        (replace(PLAIN, calls=True), GOOD, "no tool was called"),
        (replace(PLAIN, total_tokens=8), GOOD, "7 tokens in all, not 8"),
        (PLAIN, replace(GOOD, fingerprint=None), "system_fingerprint is None"),
    ],
)
def test_what_is_not_as_promised_is_told(ask: Ask, came: Outcome, fault: str) -> None:
    assert faults(PLAIN, GOOD) == []
    assert fault in faults(ask, came)
