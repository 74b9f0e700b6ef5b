"""Three upstreams under load, while one is killed, one hangs and one fails: nothing that had not begun is lost."""

from __future__ import annotations

from pathlib import Path

from tests.bench.failover import play


def test_no_request_that_had_not_begun_fails_and_none_is_answered_twice(tmp_path: Path) -> None:
    outcome = play(tmp_path, seconds=18, rate=12)
    assert len(outcome.requests) == 216
    assert outcome.not_begun == []
    assert outcome.twice == []
    # What had begun at an instance that ended is told that it is cut; more would be more than ran there.
    assert len(outcome.cut) <= 8
    events = [line["event"] for line in outcome.log]
    assert "request retried" in events
    assert 'enginehouse_instance_retries_total{model="m",instance="m#2"} 0' not in outcome.metrics
