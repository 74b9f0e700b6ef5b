import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.text.stops import StopMatcher


def run(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    out = ""
    for piece in pieces:
        text, matched = matcher.push(piece)
        out += text
        if matched is not None:
            return out, matched
    return out + matcher.flush(), None


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        ([], "abc", ("abc", None)),
        ([""], "abc", ("abc", None)),
        (["b"], "abc", ("a", "b")),
        (["abc"], "ab", ("ab", None)),
        (["bc", "c"], "abc", ("a", "bc")),  # both end at the same character: the longest
        (["abcd", "bc"], "abcd", ("a", "bc")),  # complete first
        (["aab"], "aaab", ("a", "aab")),
        (["\n\n"], "a\nb\n\nc", ("a\nb", "\n\n")),
        (["Stopp", "ß…"], "Sto ß… x", ("Sto ", "ß…")),
    ],
)
def test_text_ends_before_the_stop_that_is_complete_first(stops, text, expected):
    assert run(stops, [text]) == expected
    assert run(stops, list(text)) == expected


@given(
    stops=st.lists(st.text("ab\u00e9", min_size=1, max_size=4), max_size=4),
    pieces=st.lists(st.text("ab\u00e9", max_size=5), max_size=8),
)
def test_the_result_does_not_depend_on_the_split(stops, pieces):
    whole = "".join(pieces)
    out, matched = run(stops, pieces)
    assert (out, matched) == run(stops, [whole])
    if matched is None:
        assert out == whole
        assert not any(stop in whole for stop in stops)
    else:
        assert whole.startswith(out + matched)
        assert not any(stop in out for stop in stops)


def test_only_what_may_become_a_stop_is_held_back():
    matcher = StopMatcher(["END"])
    assert matcher.push("the E") == ("the ", None)
    assert matcher.push("nd") == ("End", None)
    assert matcher.push("xEN") == ("x", None)
    assert matcher.flush() == "EN"


def test_nothing_follows_a_match():
    matcher = StopMatcher(["x"])
    assert matcher.push("axb") == ("a", "x")
    assert matcher.push("more") == ("", "x")
    assert matcher.flush() == ""
