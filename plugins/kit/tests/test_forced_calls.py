import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.text.forced_calls import ForcedCallParser
from enginehouse_plugin.errors import EngineProtocolError


def calls_of(pieces):
    calls = []
    for piece in pieces:
        if piece.call_index == len(calls):
            assert piece.id.startswith("call_")
            calls.append([piece.name, ""])
        else:
            assert piece.id is None
            assert piece.name is None
        calls[piece.call_index][1] += piece.arguments_fragment
    return [tuple(call) for call in calls]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    calls=st.lists(st.tuples(st.text(max_size=5), json_values), min_size=1, max_size=3),
    as_array=st.booleans(),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    arguments_first=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=30),
)
def test_calls_come_out_whole_however_the_text_is_split(calls, as_array, ascii_only, indent, arguments_first, cuts):
    if not as_array:
        calls = calls[:1]
    bodies = [{"name": name, "arguments": arguments} for name, arguments in calls]
    if arguments_first:
        bodies = [dict(reversed(body.items())) for body in bodies]
    text = json.dumps(bodies if as_array else bodies[0], ensure_ascii=ascii_only, indent=indent)
    parser = ForcedCallParser()
    pieces = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    for start, end in pairwise(edges):
        pieces += parser.push(text[start:end])
    assert parser.is_complete
    assert parser.calls == len(calls)
    assert [(name, json.loads(arguments)) for name, arguments in calls_of(pieces)] == calls


def test_arguments_stream_as_they_come():
    parser = ForcedCallParser()
    assert parser.push('{"name": "wea') == []
    first, *rest = parser.push('ther", ')
    assert (first.name, first.arguments_fragment, rest) == ("weather", "", [])
    assert parser.push('"arguments":') == []
    assert [piece.arguments_fragment for piece in parser.push('{"city": "Par')] == ['{"city": "Par']
    assert [piece.arguments_fragment for piece in parser.push('is"}}\n')] == ['is"}']
    assert parser.is_complete


def test_a_text_that_is_cut_off_gives_what_there_was():
    parser = ForcedCallParser()
    pieces = parser.push('{"name": "weather", "arguments": {"city')
    assert calls_of(pieces) == [("weather", '{"city')]
    assert not parser.is_complete


@pytest.mark.parametrize(
    "text", ["Hello", '"x"', '{"name": 1, "arguments": {}}', '{"arguments": {}}', "{}", '{"name":,}', "{} {}", "[] x"]
)
def test_what_the_schema_does_not_allow_is_an_error(text):
    with pytest.raises(EngineProtocolError):
        ForcedCallParser().push(text)


def test_a_piece_becomes_a_delta_of_its_choice():
    (piece,) = ForcedCallParser().push('{"name":"f","arguments":[1]}')
    delta = piece.delta(2, 7)
    assert (delta.choice, delta.call_index, delta.completion_tokens) == (2, 0, 7)
    assert (delta.id, delta.name, delta.arguments_fragment) == (piece.id, "f", "[1]")
