"""A purse gives no more than it was leased, and takes back what was not used."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.unit.accounts.facts import ended

from enginehouse.accounts import Credits, Facts, InsufficientCredits
from enginehouse.accounts.credits import DRY_S, IDLE_S, TEMPLATE_TOKENS
from enginehouse.accounts.prices import PerToken
from enginehouse_plugin import Started, TextDelta, UsageReport
from enginehouse_plugin.errors import EnginehouseError

PRICES = PerToken(input=2, cached=1, output=10, text="2/1/10")
PROMPT = 2 * TEMPLATE_TOKENS  # what a prompt of no bytes may cost


class Bank:
    """A database that has so much for the key `k`, and gives what is wanted."""

    def __init__(self, balance: int, *, are_all: bool = False) -> None:
        self.balance = balance
        self.credits = Credits(are_all=are_all)
        self.credits.learn([(1, "k")])
        self.again = 0

    def answer(self) -> None:
        wanted, returned = self.credits.orders()
        self.balance += sum(returned.values())
        granted = {key: min(amount, self.balance) for key, amount in wanted.items()}
        self.balance -= sum(granted.values())
        self.credits.granted(wanted, granted)

    def ask(self, facts: Facts, tokens: int | None = 10, *, choices: int = 1, most: int = 1000) -> bool:
        facts.prices = PRICES
        facts.key = facts.key or "k"
        purse = self.credits.purse(facts.key)
        assert purse is not None

        def again() -> None:
            self.again += 1

        return self.credits.reserve(facts, purse, choices=choices, said_tokens=tokens, most_tokens=most, again=again)

    async def ask_twice(self, facts: Facts, tokens: int | None = 10, *, choices: int = 1, most: int = 1000) -> None:
        assert not self.ask(facts, tokens, choices=choices, most=most)
        self.answer()
        await asyncio.sleep(0)
        assert self.ask(facts, tokens, choices=choices, most=most)

    @property
    def free(self) -> int:
        return self.credits.purses["k"].free


def asked() -> Facts:
    facts = Facts("r")
    facts.model, facts.instance_id = "m", "m#0"
    return facts


def test_cost_is_by_kind_of_token_and_bounded_for_engines_that_lie() -> None:
    assert PRICES.cost(10, 4, 7) == 2 * 6 + 4 + 70
    assert PRICES.cost(10, 40, 0) == 10
    assert PRICES.cost(-1, -1, -1) == 0
    assert 0 < PRICES.cost(10**30, 0, 10**30) < 2**63


async def test_the_database_is_asked_once_and_the_request_pays_what_it_cost() -> None:
    bank = Bank(10_000)
    facts = asked()
    await bank.ask_twice(facts)
    assert bank.again == 1
    assert bank.balance == 10_000 - PROMPT - 100
    facts.note([UsageReport(prompt_tokens=3, cached_tokens=1, completion_tokens=4)])
    bank.credits.settle(facts)
    assert (facts.charged, facts.credit) == (2 * 2 + 1 + 40, None)
    assert bank.free == PROMPT + 100 - 45
    bank.credits.settle(facts)  # once
    assert bank.free == PROMPT + 100 - 45


async def test_a_request_that_says_how_much_is_refused_whole_and_told_how_much_it_may_ask() -> None:
    bank = Bank(PROMPT + 55)
    facts = asked()
    assert not bank.ask(facts)
    bank.answer()
    with pytest.raises(InsufficientCredits, match="'max_tokens' of 5 or less") as caught:
        bank.ask(facts)
    assert caught.value.param == "max_tokens"
    assert bank.ask(asked(), 5)
    with pytest.raises(InsufficientCredits, match=r"beside 0\.0+1074 that its running requests"):
        bank.ask(asked(), 5)


async def test_a_request_that_says_nothing_has_what_the_credit_allows_and_not_more_than_the_context() -> None:
    bank = Bank(PROMPT + 2 * 55)
    facts = asked()
    await bank.ask_twice(facts, None, choices=2)
    assert facts.credit is not None
    assert (facts.credit.max_tokens, facts.credit.amount, bank.free) == (5, PROMPT + 100, 10)
    rich = Bank(10**9)
    facts = asked()
    await rich.ask_twice(facts, None, most=600)
    assert facts.credit is not None
    assert (facts.credit.max_tokens, facts.credit.amount) == (None, PROMPT + 6000)


async def test_a_prompt_is_bounded_by_its_bytes_and_by_the_context() -> None:
    bank = Bank(10**9)
    facts = asked()
    facts.prompt_bytes = 100
    await bank.ask_twice(facts, 1, most=10_000)
    assert facts.credit is not None
    assert facts.credit.amount == 2 * (100 + TEMPLATE_TOKENS) + 10
    facts = asked()
    facts.prompt_bytes = 10**9
    bank.credits.purses["k"].free = 10**9
    assert bank.ask(facts, 20_000, most=10_000)
    assert facts.credit is not None
    assert facts.credit.amount == 2 * 10_000 + 10 * 10_000


async def test_what_a_lying_engine_takes_beyond_its_reservation_is_paid_as_far_as_there_is_credit() -> None:
    bank = Bank(10_000)
    one, other = asked(), asked()
    await bank.ask_twice(one)
    assert not bank.ask(other)
    bank.answer()
    assert bank.ask(other)
    free = bank.free
    one.note([UsageReport(prompt_tokens=0, completion_tokens=10**6)])
    bank.credits.settle(one)
    assert one.charged == PROMPT + 100 + free
    assert bank.free == 0
    assert bank.credits.uncollected == 10**7 - (PROMPT + 100 + free)
    bank.credits.settle(other)
    assert bank.free == PROMPT + 100


async def test_a_note_of_a_running_request_charges_no_more_than_it_has_reserved() -> None:
    bank = Bank(10_000)
    facts = asked()
    await bank.ask_twice(facts)
    facts.note([Started(prompt_tokens=3), TextDelta(choice=0, text="a", completion_tokens=2)])
    assert facts.charge(facts.cost) == 6 + 20
    facts.note([TextDelta(choice=0, text="a", completion_tokens=2000)])
    assert facts.charge(facts.cost) == PROMPT + 100
    free = ended()
    free.prices = PRICES
    assert free.charge(free.cost) is None


async def test_a_request_that_reached_no_engine_costs_nothing() -> None:
    bank = Bank(10_000)
    facts = asked()
    facts.instance_id = None
    await bank.ask_twice(facts)
    bank.credits.settle(facts)
    assert (facts.charged, bank.free) == (0, PROMPT + 100)


async def test_a_key_without_credit_is_looked_up_again_after_a_second_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    bank = Bank(0)
    assert not bank.ask(asked())
    bank.answer()
    for _ in range(3):
        with pytest.raises(InsufficientCredits, match="Have credit added"):
            bank.ask(asked())
    assert bank.credits.orders() == ({}, {})
    passed[0] += DRY_S
    bank.balance = 10_000
    await bank.ask_twice(asked())


async def test_what_is_wanted_while_the_database_answers_is_asked_for_beside_it() -> None:
    bank = Bank(10**6)
    assert not bank.ask(asked(), 10)
    on_its_way, _ = bank.credits.orders()
    assert not bank.ask(asked(), 20)
    bank.credits.granted(on_its_way, on_its_way)
    wanted, _ = bank.credits.orders()
    assert (on_its_way, wanted) == ({"k": PROMPT + 100}, {"k": PROMPT + 200})
    bank.credits.granted(wanted, wanted)
    assert (bank.credits.purses["k"].asked, bank.free) == (0, 2 * PROMPT + 300)


async def test_what_nobody_uses_goes_back_and_what_a_request_holds_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    bank = Bank(10_000)
    facts = asked()
    await bank.ask_twice(facts)
    bank.answer()  # it has asked for more at once, so that the next request need not wait
    assert (bank.free, bank.balance) == (PROMPT + 100, 10_000 - 2 * (PROMPT + 100))
    passed[0] += IDLE_S + 1
    assert bank.credits.orders() == ({}, {})
    bank.credits.settle(facts)
    passed[0] += 1
    assert bank.credits.orders() == ({}, {})
    passed[0] += IDLE_S + 1
    bank.answer()
    assert (bank.free, bank.balance) == (0, 10_000)


async def test_credit_that_cannot_be_looked_up_refuses_only_what_the_lease_does_not_cover() -> None:
    bank = Bank(10_000)
    await bank.ask_twice(asked())
    bank.credits.purses["k"].free += PROMPT + 100
    assert not bank.ask(asked(), 1000)
    bank.credits.failed(*bank.credits.orders(), EnginehouseError("away"))
    await asyncio.sleep(0)
    assert bank.again == 2
    with pytest.raises(EnginehouseError, match="away"):
        bank.ask(asked(), 1000)
    assert bank.ask(asked())


async def test_after_a_lease_is_lost_nothing_of_it_is_spent_or_freed() -> None:
    bank = Bank(10_000)
    facts = asked()
    await bank.ask_twice(facts)
    bank.credits.purses["k"].free += 500
    bank.credits.void()
    assert bank.free == 0
    bank.credits.settle(facts)
    assert bank.free == 0


async def test_every_key_pays_where_all_do() -> None:
    bank = Bank(10_000, are_all=True)
    assert bank.credits.purse("stranger") is not None
    assert Bank(0).credits.purse("stranger") is None
    assert bank.credits.purse(None) is None
