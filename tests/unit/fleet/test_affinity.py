"""A conversation is known by the beginnings that it shares with what an instance has read."""

from __future__ import annotations

from enginehouse.fleet.affinity import Affinity, Cache, blocks_of, is_worth_it
from enginehouse_plugin import (
    AssistantMessage,
    Chat,
    GenerationRequest,
    Message,
    SystemMessage,
    Text,
    TextPart,
    Tokens,
    Tool,
    UserMessage,
)

SYSTEM = SystemMessage("You are a parrot.")


def asking(*messages: Message, **fields: object) -> GenerationRequest:
    return GenerationRequest(id="r", prompt=Chat(messages), **fields)  # type: ignore[arg-type]


def test_the_next_turn_of_a_conversation_is_known_where_the_last_one_was() -> None:
    known: Affinity[str] = Affinity()
    first, other = asking(SYSTEM, UserMessage("Hi")), asking(SYSTEM, UserMessage("Who are you?"))
    known.note(blocks_of(first), Cache("a"))
    known.note(blocks_of(other), Cache("b"))
    following = asking(SYSTEM, UserMessage("Hi"), AssistantMessage("Squawk"), UserMessage("Again"))
    assert known.cached_chars(blocks_of(following)) == {"a": 19, "b": 17}


def test_what_differs_before_is_known_nowhere() -> None:
    known: Affinity[str] = Affinity()
    known.note(blocks_of(asking(SYSTEM, UserMessage("Hi"))), Cache("a"))
    for other in (
        asking(UserMessage("Hi")),
        asking(SystemMessage("You are a fox."), UserMessage("Hi")),
        asking(SYSTEM, UserMessage("Hi"), tools=(Tool("find"),)),
        asking(UserMessage("You are a parrot.")),
    ):
        assert known.cached_chars(blocks_of(other)) == {}


def test_a_long_message_is_known_in_parts() -> None:
    known: Affinity[str] = Affinity()
    text = "x" * 5000
    known.note(blocks_of(asking(UserMessage(text + "first"))), Cache("a"))
    assert known.cached_chars(blocks_of(asking(UserMessage(text + "second")))) == {"a": 4096}
    raw = GenerationRequest(id="r", prompt=Text(text))
    known.note(blocks_of(raw), Cache("b"))
    assert known.cached_chars(blocks_of(raw)) == {"b": 5000}


def test_parts_of_messages_count_and_token_ids_do_not() -> None:
    assert len(blocks_of(asking(UserMessage((TextPart("Hi"),))))) == 1
    assert blocks_of(GenerationRequest(id="r", prompt=Tokens((1, 2)))) == []


def test_a_short_prompt_is_not_worth_it() -> None:
    assert not is_worth_it(asking(SYSTEM, UserMessage("Hi")))
    assert is_worth_it(asking(SYSTEM, UserMessage("x" * 500)))
    assert is_worth_it(asking(UserMessage((TextPart("Hi"),))))


def test_what_is_remembered_is_bounded() -> None:
    known: Affinity[str] = Affinity()
    for number in range(300):
        known.note(blocks_of(asking(UserMessage(f"{number} " + "y" * 300_000))), Cache("a"))
    assert len(known._known) == 32_768
    assert len(blocks_of(asking(UserMessage("z" * 10_000_000)))) == 256
    for number in range(20):
        known.note(blocks_of(asking(SYSTEM)), Cache(f"i{number}"))
    assert len(known.cached_chars(blocks_of(asking(SYSTEM)))) == 3


def test_what_an_instance_has_lost_is_found_nowhere_and_takes_no_place() -> None:
    known: Affinity[str] = Affinity()
    blocks = blocks_of(asking(SYSTEM))
    caches = [Cache(f"i{number}") for number in range(3)]
    for cache in caches:
        known.note(blocks, cache)
    caches[1].owner = caches[2].owner = None
    assert known.cached_chars(blocks) == {"i0": 17}
    known.note(blocks, Cache("i2"))
    assert known.cached_chars(blocks) == {"i0": 17, "i2": 17}
