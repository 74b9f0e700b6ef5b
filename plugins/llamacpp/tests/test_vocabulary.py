"""Which tokens a text was made of, where the engine does not tell."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from enginehouse_llamacpp import server as server_module
from enginehouse_llamacpp.server import Chunk, Probability
from enginehouse_llamacpp.vocabulary import Vocabulary
from enginehouse_plugin.errors import EngineProtocolError


class Pieces:
    """A server that knows nothing but its tokens."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def pieces(self, token_ids: range) -> list[bytes]:
        return [self._pieces[token_id] for token_id in token_ids]


async def vocabulary(pieces: list[bytes], control_ids: tuple[int, ...] = ()) -> Vocabulary:
    server: Any = Pieces(pieces)
    made = Vocabulary(server, len(pieces), control_ids)
    await made.load()
    return made


def chunk(data: bytes, last: int) -> Chunk:
    return Chunk(tokens=[last], completion_probabilities=[Probability(last, -1.0, list(data))])


HALF = b"\xf0\x9f"
PIECES = [b"<s>", HALF, b"\xf0", b"\x9f", b"\xf0\x9f\xf0", b"a"]


async def test_a_token_inside_a_character_that_repeats_is_found_at_once():
    """Each of its bytes is a token, too: as many ways as there are subsets, and far too many to look at."""
    tokens = await vocabulary([*PIECES[:4], b"a"])
    assert tokens.tokens_of(chunk(HALF * 999 + b"a", 4), 1000) == [1] * 999 + [4]


async def test_of_several_ways_longer_tokens_come_first():
    tokens = await vocabulary(PIECES)
    every = {
        ids for ids in product(range(1, 5), repeat=3) if b"".join(PIECES[token_id] for token_id in ids) == HALF * 2
    }
    assert len(every) > 1
    expected = max(every, key=lambda ids: [len(PIECES[token_id]) for token_id in ids])
    assert tokens.tokens_of(chunk(HALF * 2 + b"a", 5), 4) == [*expected, 5]


async def test_a_control_token_stands_for_what_has_no_text():
    tokens = await vocabulary(PIECES, control_ids=(0,))
    assert tokens.tokens_of(chunk(HALF + b"a", 5), 4) == [2, 0, 3, 5]


async def test_a_text_that_no_tokens_make_is_an_error_of_the_protocol():
    tokens = await vocabulary(PIECES)
    with pytest.raises(EngineProtocolError, match="do not make"):
        tokens.tokens_of(chunk(b"zz" * 500 + b"a", 5), 700)


class Asked(Pieces):
    """A server that knows alternatives: as many as are asked for, by their ids."""

    def __init__(self, size: int) -> None:
        super().__init__([b"a"] * size)
        self.counts: list[int] = []

    async def alternatives(self, body: dict[str, Any]) -> list[Probability]:
        self.counts.append(body["n_probs"])
        return [Probability(token_id, -token_id / 10, [97]) for token_id in range(body["n_probs"])]

    async def alternative(self, body: dict[str, Any], token_id: int) -> Probability | None:
        self.counts.append(body["n_probs"])
        return Probability(token_id, -token_id / 10, [97]) if token_id < body["n_probs"] else None


@pytest.mark.parametrize(
    ("token_id", "counts"), [(7, [256]), (300, [256, 8192]), (9000, [256, 8192, 10_000]), (10_000, None)]
)
async def test_a_token_is_looked_for_among_more_and_more(token_id: int, counts: list[int] | None):
    """No more of the alternatives are kept than a request may ask for: a whole answer may be such tokens."""
    server: Any = Asked(10_000)
    tokens = Vocabulary(server, 10_000)
    await tokens.load()
    if counts is None:
        with pytest.raises(EngineProtocolError, match="no logprob"):
            await tokens.probability([1], token_id)
        return
    found = await tokens.probability([1], token_id)
    assert (found.id, found.logprob) == (token_id, -token_id / 10)
    assert [token.id for token in found.top_logprobs] == list(range(20))
    assert server.counts == counts


def test_one_alternative_is_read_without_the_others():
    others = ", ".join(f'{{"id":{at},"token":"{{\\"id\\":5,","bytes":[{at}],"logprob":-{at}.5}}' for at in (4, 5, 55))
    body = f'{{"completion_probabilities":[{{"id":5,"token":"é","top_logprobs":[{others}]}}]}}'.encode()
    found = server_module._alternative(body, 5)
    assert found == Probability(5, -5.5, [5])
    assert server_module._alternative(body, 6) is None
