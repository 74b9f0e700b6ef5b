from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.wire.duplicates import Proof, duplicate_key


class Part(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="text"):
    text: str


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="image"):
    url: str


class Root(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    size: int | None = None
    parts: tuple[Part, ...] = ()
    mixed: tuple[Part | Image, ...] = ()
    free: dict[str, Any] = {}
    below: Root | None = None


PROOF = Proof(Root)


def proves(body: bytes) -> bool:
    return PROOF.holds(body, msgspec.json.decode(body, type=Root))


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"a: b","size":1}',
        b'{ "name" : "x", "free" : {"a": [1, {"b": ":"}]} }',
        b'{"mixed":[{"type":"image","url":"http://x:1"}],"below":{"name":"a"}}',
    ],
)
def test_an_ordinary_body_is_proven(body: bytes) -> None:
    assert proves(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"a","name":"b"}',
        b'{"free":{"a":1,"a":1}}',
        b'{"free":{"a":{"b":1},"a":2}}',
        b'{"parts":[{"type":"text","type":"text","text":"a"},{"text":"b"}]}',
        b'{"parts":[{"text":"b"}],"name":"a","name":"b"}',
        b'{"below":{"size":1,"size":2}}',
        b'{"name":"a\\u003ab","name":"b"}',
    ],
)
def test_a_key_that_is_given_twice_is_never_hidden(body: bytes) -> None:
    assert not proves(body)
    assert duplicate_key(body, msgspec.json.decode(body)) is not None


def test_nothing_is_proven_of_a_struct_that_is_encoded_with_its_defaults() -> None:
    class Whole(msgspec.Struct):
        name: str
        size: int | None = None

    body = b'{"name":"a","name":"b"}'
    assert not Proof(Whole).holds(body, msgspec.json.decode(body, type=Whole))


PIECES = st.recursive(
    st.sampled_from([b"1", b'":"', b'"text"', b"null", b'"\\u003a"', b'{"text":"b"}', b'{"type":"text","text":":"}']),
    lambda below: st.lists(st.tuples(st.sampled_from(["a", "type", "text", ":", "a:"]), below), max_size=3).map(
        lambda pairs: b"{%b}" % b",".join(json.dumps(name).encode() + b":" + value for name, value in pairs)
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(["name", "free", "parts", "mixed", "below"]), PIECES), max_size=4))
def test_what_is_proven_has_no_key_twice(pairs: list[tuple[str, bytes]]) -> None:
    body = b"{%b}" % b",".join(
        b'"%b":%b' % (name.encode(), b"[%b]" % value if name in ("parts", "mixed") else value) for name, value in pairs
    )
    try:
        decoded = msgspec.json.decode(body, type=Root)
    except msgspec.ValidationError:
        return
    if PROOF.holds(body, decoded):
        assert duplicate_key(body, msgspec.json.decode(body)) is None
