"""docs/api.md names every field: those of the structs, and those of the reference as the OpenAI SDK has it."""

from __future__ import annotations

import re
import runpy
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect
import openai
import pytest
import typing_extensions
from openai.types.chat import ChatCompletion, ChatCompletionChunk, completion_create_params
from pydantic import BaseModel

from enginehouse.config import Config, Defaults
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.answers import ChatAnswer, ChatChunk
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.recorded import recorded
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.models import ModelCard
from enginehouse.dialects.openai.openapi import document
from enginehouse.fleet import errors as fleet_errors
from enginehouse_plugin import errors as contract_errors
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest

PAGE = (Path(__file__).parents[5] / "docs" / "api.md").read_text()
ERROR_KINDS = [
    kind
    for module in (contract_errors, fleet_errors)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, EnginehouseError)
]


def rows(*headings: str) -> dict[str, list[str]]:
    """The rows of the tables under *headings*, by the name in backticks in the first column."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    text = "".join(part for part in sections if part.partition("\n")[0] in headings)
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and (name := re.fullmatch(r"`([^`]+)`", cells[0])):
            assert name[1] not in found, f"{name[1]} has two rows"
            found[name[1]] = cells[1:]
    return found


REQUEST = rows("Request")
ANSWER = rows("Answer", "Stream")


def struct_paths(node: msgspec.inspect.Type, path: str) -> Iterator[str]:
    """Paths of all fields below *path*: `messages[].content[].text`."""
    if isinstance(node, msgspec.inspect.Metadata):
        yield from struct_paths(node.type, path)
    elif isinstance(node, msgspec.inspect.UnionType):
        for member in node.types:
            yield from struct_paths(member, path)
    elif isinstance(node, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
        yield from struct_paths(node.item_type, f"{path}[]")
    elif isinstance(node, msgspec.inspect.StructType):
        if node.tag_field:
            yield f"{path}.{node.tag_field}"
        for field in node.fields:
            below = f"{path}.{field.encode_name}" if path else field.encode_name
            yield below
            yield from struct_paths(field.type, below)


def sdk_paths(kind: Any, path: str) -> Iterator[str]:
    origin = typing.get_origin(kind)
    if typing_extensions.is_typeddict(kind):
        for name, hint in typing_extensions.get_type_hints(kind).items():
            below = f"{path}.{name}" if path else name
            yield below
            yield from sdk_paths(hint, below)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            below = f"{path}.{name}" if path else name
            yield below
            yield from sdk_paths(field.annotation, below)
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(kind):
            yield from sdk_paths(member, path)
    elif origin is typing.Annotated or origin in (typing_extensions.Required, typing_extensions.NotRequired):
        yield from sdk_paths(typing.get_args(kind)[0], path)
    elif origin is not None and origin not in (dict, typing.Literal) and typing.get_args(kind):
        yield from sdk_paths(typing.get_args(kind)[0], f"{path}[]")


def sample_error_codes() -> dict[str, int]:
    """Codes and statuses that the table of malformed requests expects."""
    table = runpy.run_path(str(Path(__file__).with_name("bad_requests.py")))["BAD_REQUESTS"]
    return {row.code: row.status for row in table}


def is_covered(path: str, table: dict[str, list[str]]) -> bool:
    """Whether *path* has a row, or is inside a field that is refused (or, of an answer, never sent) as a whole."""
    if path in table:
        return True
    above = re.split(r"(?=\.)|(?=\[\])", path)
    return any(is_whole("".join(above[:end]), table) for end in range(1, len(above)))


def is_whole(path: str, table: dict[str, list[str]]) -> bool:
    """Whether one row of *table* speaks for all that is below *path*."""
    cells = table.get(path, [])
    return "refused" in cells or "never" in cells or any("fields as in an answer" in cell for cell in cells)


OF_STRUCTS = sorted(set(struct_paths(msgspec.inspect.type_info(ChatRequest), "")))
OF_SDK = sorted(
    {path for kind in typing.get_args(completion_create_params.CompletionCreateParams) for path in sdk_paths(kind, "")}
)
OF_ANSWERS = sorted(
    {
        f"{prefix}{path}"
        for prefix, kind in (("", ChatAnswer), ("chunk: ", ChatChunk))
        for path in struct_paths(msgspec.inspect.type_info(kind), "")
    }
)
OF_SDK_ANSWERS = sorted(
    {
        f"{prefix}{path}"
        for prefix, kind in (("", ChatCompletion), ("chunk: ", ChatCompletionChunk))
        for path in sdk_paths(kind, "")
    }
)


def test_every_field_of_the_structs_has_a_row() -> None:
    assert [path for path in OF_STRUCTS if not is_covered(path, REQUEST)] == []


def test_every_field_of_the_reference_has_a_row() -> None:
    assert len(OF_SDK) > 100
    assert [path for path in OF_SDK if not is_covered(path, REQUEST)] == []


def test_every_field_of_an_answer_has_a_row() -> None:
    assert [path for path in (*OF_ANSWERS, *OF_SDK_ANSWERS) if not is_covered(path, ANSWER)] == []


@pytest.mark.skipif(
    openai.__version__.startswith("2."),
    reason="needs version 3 of the SDK, which knows the newest fields and wants another httpx2 than the lowest allowed",
)
def test_no_row_is_about_a_field_that_is_gone() -> None:
    assert set(REQUEST) <= {*OF_STRUCTS, *OF_SDK}
    assert set(ANSWER) <= {*OF_ANSWERS, *OF_SDK_ANSWERS}


def test_what_is_never_sent_is_in_no_struct() -> None:
    never = {path for path, cells in ANSWER.items() if cells[0] == "never"}
    assert never.isdisjoint(OF_ANSWERS)
    assert set(ANSWER) - never <= set(OF_ANSWERS)


def test_every_row_has_a_disposition() -> None:
    assert {cells[2] for cells in REQUEST.values()} == {"honoured", "recorded", "refused"}


SCHEMA = document(mounts(Config(), {})[0].endpoints)["components"]["schemas"]["ChatRequest"]


@pytest.mark.parametrize("name", ChatRequest.__struct_fields__)
def test_type_range_and_default_of_a_row_are_those_of_the_code(name: str) -> None:
    range_, default, disposition, _ = REQUEST[name]
    field = SCHEMA["properties"][name]
    assert (default == "required") == (name in SCHEMA["required"])
    for choice in (field, *field.get("anyOf", ())):
        for bound in ("minimum", "exclusiveMinimum", "maximum", "maxLength", "maxProperties"):
            if bound in choice:
                assert str(choice[bound]).removesuffix(".0") in range_.split(" ")
        for value in choice.get("enum", ()):
            assert f"`{str(value).lower()}`" in range_
    if field.get("default") is not None:
        written = msgspec.json.encode(field["default"]).decode()
        assert default.removesuffix(" *").strip("`") == written.removesuffix(".0").strip('"')
    assert (disposition == "refused") == (field.get("type") == "null")


def test_a_default_that_a_model_can_set_is_marked() -> None:
    marked = {name for name, cells in REQUEST.items() if cells[1].endswith("*")}
    assert marked == {*Defaults.__struct_fields__, "max_completion_tokens"}


def test_recorded_fields_are_noted() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "user": "u",
        "safety_identifier": "s",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "implicit"},
        "prompt_cache_retention": "24h",
        "prediction": {"type": "content", "content": "private"},
    }
    chat, _ = decode_chat(msgspec.json.encode(body))
    noted = recorded(chat)
    assert set(noted) == {name for name, cells in REQUEST.items() if cells[2] == "recorded" and "." not in name}
    assert noted["prompt_cache_options"] == {"mode": "implicit"}
    assert "private" not in str(noted)
    assert recorded(decode_chat(msgspec.json.encode({"model": "m", "messages": body["messages"]}))[0]) == {}


def test_every_code_of_an_error_has_a_row_with_its_status() -> None:
    table = {code: int(cells[0]) for code, cells in rows("Errors").items()}
    expected = {**errors.STATUS, **sample_error_codes(), "internal_error": 500, "malformed_http": 400}
    expected["unsupported_schema"] = 400  # engines' adapters raise it, of which the router knows nothing
    expected |= {kind.code: errors.status_of(kind.__new__(kind)) for kind in ERROR_KINDS}
    assert table == expected


def test_the_example_of_an_error_is_one() -> None:
    (example,) = re.findall(r"^{\"error\": .*$", PAGE, flags=re.MULTILINE)
    with pytest.raises(InvalidRequest) as caught:
        decode_chat(b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":3}')
    assert msgspec.json.decode(example) == msgspec.json.decode(errors.describe(caught.value).body)


def test_every_field_of_a_model_has_a_row() -> None:
    assert list(rows("Models")) == list(ModelCard.__struct_fields__)
    (example,) = re.findall(r"^{\"id\": .*$", PAGE, flags=re.MULTILINE)
    card = msgspec.json.decode(example, type=ModelCard, strict=True)
    assert set(msgspec.json.decode(example)) == set(ModelCard.__struct_fields__)
    assert card.object == "model"
