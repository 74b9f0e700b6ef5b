from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.weights import DemoSource, HubSource, LocalSource, RemoteSource, parse
from enginehouse.weights.errors import InvalidSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo:smollm2-135m", DemoSource("smollm2-135m")),
        (f"hub:org/repo@{COMMIT}", HubSource("org/repo", COMMIT)),
        ("hub:org/repo@main/model-Q4.gguf", HubSource("org/repo", "main", "model-Q4.gguf")),
        ("hub:org/repo@v1.0/sub/model.gguf", HubSource("org/repo", "v1.0", "sub/model.gguf")),
        ("hub:org/repo@refs/pr/3/model.gguf", HubSource("org/repo", "refs/pr/3", "model.gguf")),
        ("hub:gpt2@main", HubSource("gpt2", "main")),
        ("https://example.org/v1", RemoteSource("https://example.org/v1")),
        ("/models/a.gguf", LocalSource(Path("/models/a.gguf"))),
        ("C:/models/a.gguf", LocalSource(Path("/base/C:/models/a.gguf"))),
        ("models/a b.gguf", LocalSource(Path("/base/models/a b.gguf"))),
    ],
)
def test_each_form_of_source_is_read_as_what_it_is(text: str, expected: object) -> None:
    assert parse(text, base=Path("/base")) == expected


def test_home_is_expanded_in_a_path() -> None:
    assert parse("~/m.gguf", base=Path("/base")) == LocalSource(Path.home() / "m.gguf")


@pytest.mark.parametrize("revision", [COMMIT, "main"])
def test_only_a_commit_is_pinned(revision: str) -> None:
    assert HubSource("org/repo", revision).is_pinned == (revision == COMMIT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("hub:org/repo", "names no revision"),
        ("hub:org/repo@", "revision is empty"),
        ("hub:@main", "revision is empty"),
        ("hub:org/repo/more@main", "'org/repo/more' is not a repository's name"),
        ("hub:../up@main", "is not a repository's name"),
        ("hub:org/repo@main/../../secret", "is not the name of a file"),
        ("hub:org/repo@main//x.gguf", "is not the name of a file"),
    ],
)
def test_a_source_without_form_is_refused_with_the_form_that_it_should_have(text: str, words: str) -> None:
    with pytest.raises(InvalidSource, match=words) as caught:
        parse(text)
    assert "hub:ORG/REPO@REVISION" in str(caught.value)


def test_a_hub_source_without_revision_says_how_to_find_one() -> None:
    with pytest.raises(InvalidSource, match="40 hex digits"):
        parse("hub:org/repo")
