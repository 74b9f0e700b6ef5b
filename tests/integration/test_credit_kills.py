"""A small size of the campaigns on credit: routers and a database are killed under streams, and all adds up after."""

from __future__ import annotations

import pytest
from tests.postgres import NEEDED, binaries
from tests.siege.credit import killed_router, shared
from tests.siege.verdict import Verdict


async def test_a_router_that_is_killed_again_and_again_charges_each_answer_once() -> None:
    verdict = Verdict("credit")
    await killed_router(verdict, streams=24, keys=4, kills=2, least_s=0.7, is_spent=False)
    assert verdict.failures == []
    assert {"kills", "whole", "cut off"} <= verdict.counts.keys()


@pytest.mark.skipif(binaries() is None, reason=NEEDED)
async def test_a_router_whose_database_is_killed_spends_what_there_is_and_no_more() -> None:
    verdict = Verdict("credit")
    await shared(verdict, streams=16, keys=3, routers=1, outages=1, least_s=1.0)
    assert verdict.failures == []
    assert {"outages", "whole", "refused for credit"} <= verdict.counts.keys()
