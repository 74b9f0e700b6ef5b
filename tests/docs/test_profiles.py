"""The pages of profiles say what their data say, and these what the documents say."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from tests.integration import documents

from enginehouse.dialects.profiles import built_in
from enginehouse_conformance.documented import documented
from enginehouse_conformance.rules import PROFILES

from . import profile_pages

PAGES = profile_pages.pages()
_TYPES = ("string", "array", "float", "integer", "boolean", "object")


@pytest.mark.parametrize(
    ("document", "sha256"),
    [
        ("digitalocean-agent-reference.txt", "e08b522825e6fa9aec0f7ec5e41f7d1cf28b1eb52aeade2ad2e160b22e04a806"),
        ("dos-ai-guide.txt", "46d073c4435cd26dc1616653aea8d1814afca4f84d7a0c230880a44ef1488b87"),
        ("dos-ai-reference.md", "704b17d22a6ce476e7077dcae0e697b127b2404762a25ba4032790b45f481085"),
        ("dottxt-reference.txt", "b1a3a21700066cc1822124318a5744ff89062b1bf6539754b2699473b4ba9f43"),
        ("krosai-reference.txt", "593b21e3b940ad9a6bb5322861f02215e5491bc5fb698f6ae9c264e25d550853"),
    ],
)
def test_a_document_is_as_it_was_found(document: str, sha256: str) -> None:
    """No formatter has had its way: what is sent is what is written there."""
    found = (documents.FOLDER / document).read_bytes()
    assert hashlib.sha256(found).hexdigest() == sha256


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_data(name: str) -> None:
    page = (profile_pages.FOLDER / name).read_text(encoding="utf-8")
    assert page == PAGES[name], "run: python -m tests.docs.profile_pages"


def test_no_page_is_of_a_profile_that_is_not_there() -> None:
    assert {path.name for path in profile_pages.FOLDER.iterdir()} == set(PAGES)


def test_the_suite_has_the_same_document_of_each_profile() -> None:
    chats = {name: profile for name, profile in built_in().items() if "chat" in profile.endpoints}
    for name, profile in chats.items():
        assert documented(name) == profile, f"copy the file of {name} into the suite's rules/documented"
    assert set(PROFILES) == set(chats)


def tables(text: str) -> dict[str, list[str]]:
    """Rows of Markdown tables by the name in their first column."""
    rows = re.findall(r"^\| `([\w.\[\]]+)` +\|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}


def test_dos_ais_fields_are_those_of_its_reference() -> None:
    text = documents.read("dos-ai-reference.md")
    body, _, rest = text.partition("### Message Format")
    fields = tables(body.split("## Request Body")[1])
    profile = built_in()["dos-ai"].fields
    assert len(fields) == 13
    assert {name for name in profile if "." not in name} == set(fields)
    messages = tables(rest.split("## Response Body")[0])
    assert {name.removeprefix("messages[].") for name in profile if "." in name} == set(messages)
    for name, (kind, required, default, _) in fields.items():
        field = profile[name]
        assert (field.type, field.required) == (kind, required == "Yes")
        if default == "Model default":
            assert field.default_is.startswith("the model's")
        elif field.default is None:
            assert (field.default_is or "-") == default
        else:
            assert field.default == float(default)


def test_dos_ais_guide_has_twelve_of_them_and_another_default_temperature() -> None:
    text = documents.read("dos-ai-guide.txt").split("Parameters\n")[1].split("Temperature vs Top-p")[0]
    lines = [line for line in text.splitlines() if line.strip()]
    rows = {lines[at]: lines[at + 1 : at + 3] for at in range(3, len(lines) - 2) if re.fullmatch(r"[a-z_]+", lines[at])}
    named = {name: row for name, row in rows.items() if row[0].split()[0] in _TYPES}
    assert len(named) == 12
    assert set(named) == {name for name in built_in()["dos-ai"].fields if "." not in name} - {"tool_choice"}
    assert named["temperature"] == ["float", "0.7"]
    assert built_in()["dos-ai"].fields["temperature"].other_defaults == (0.7,)
    assert "0.7" in next(each for each in built_in()["dos-ai"].readings if each.about == "temperature").document


def test_dos_ais_statuses_and_their_words_are_those_of_its_reference() -> None:
    text = documents.read("dos-ai-reference.md").split("## Error Responses")[1].split("See [Error Codes]")[0]
    rows = re.findall(r"^\| (\d+) +\| ([^|]+?) +\| ([^|]+?) +\|$", text, re.MULTILINE)
    shown = {int(status): (title, words) for status, title, words in rows}
    assert set(shown) == {400, 401, 402, 429, 500, 503}
    for status, said in built_in()["dos-ai"].errors.items():
        title, words = shown[status]
        assert said.title == title
        assert words.startswith(said.words)


def test_krosais_fields_and_statuses_are_those_of_its_reference() -> None:
    text = documents.read("krosai-reference.txt")
    profile = built_in()["krosai"]
    rows = re.findall(r'^(\w+)\n(array|string|integer|number)\n(required|default:"([^"]+)")$', text, re.MULTILINE)
    shown: dict[str, Any] = {name: (kind, default) for name, kind, _, default in rows}
    assert {place.removeprefix("messages[].") for place in profile.fields} == set(shown)
    for place, field in profile.fields.items():
        kind, default = shown[place.removeprefix("messages[].")]
        assert (field.type, field.required) == (kind, not default)
        assert not default or field.default == float(default)
    statuses = re.findall(r"^(\d{3}): (.+)\nobject\n\n(.+)$", text, re.MULTILINE)
    assert {int(status): (title, f"{words}.") for status, title, words in statuses} == {
        status: (said.title, said.words) for status, said in profile.errors.items()
    }


def test_an_agents_fields_are_the_38_of_its_reference() -> None:
    text = documents.read("digitalocean-agent-reference.txt").split("Request body fields")[1]
    kinds = "String|Boolean|Integer|Number|Array|Object"
    rows = re.findall(rf"^([\w.\[\]]+)(?: ({kinds}))? (Yes|No)$", text, re.MULTILINE)
    shown = {name.removesuffix("[]"): (kind, required == "Yes") for name, kind, required in rows}
    assert len(shown) == 38
    fields = built_in()["digitalocean-agent"].fields
    assert {place: (field.type, field.required) for place, field in fields.items()} == shown


def body_of(example: documents.Example) -> Any:
    """The body that *example*, no program of an SDK, sends."""
    if example.kind == "curl":
        found = re.search(r"-d '(\{.*\})'", example.text, re.DOTALL)
        assert found is not None
        return json.loads(found[1])
    return json.loads(documents.line(example.text).body if example.kind == "http" else example.text)


@pytest.mark.parametrize("profile", ["dos-ai", "krosai"])
def test_the_examples_are_those_of_the_documents(profile: str) -> None:
    shown = {
        "dos-ai": [*documents.guide_examples(), *documents.reference_examples()],
        "krosai": documents.krosai_examples(),
    }[profile]
    bodies = [body_of(example) for example in shown if example.kind not in ("python", "node")]
    known = [json.loads(text) for text in built_in()[profile].examples]
    assert known[: len(bodies)] == bodies
    # Both SDKs send the same body.
    assert len(known) - len(bodies) == int(profile == "dos-ai")


def test_the_answers_are_those_that_the_documents_show() -> None:
    shown = documents.documented_answers()
    for name in ("dos-ai", "krosai"):
        for place, kind in built_in()[name].answer.items():
            value = shown[name]
            for step in place.split("."):
                value = value[step.removesuffix("[]")]
                value = value[0] if step.endswith("[]") else value
            assert type(value) is {"string": str, "integer": int, "array": list, "object": dict}[kind]
