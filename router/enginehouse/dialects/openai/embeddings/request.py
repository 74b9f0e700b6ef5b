"""The struct of a request for embeddings, and what it becomes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from enginehouse.dialects.openai.chat.request import INT32_MAX, TokenID
from enginehouse.dialects.openai.plain import PlainBody
from enginehouse_plugin import EmbeddingRequest, Text, Tokens
from enginehouse_plugin.errors import InvalidRequest

MOST_INPUTS = 2048
"""As many as the reference allows."""

Truncation = Annotated[
    int,
    Meta(
        ge=-1,
        le=INT32_MAX,
        description="Texts of more tokens are cut at their end; -1: those that exceed the context, else refused.",
    ),
]


class EmbeddingsRequest(PlainBody, frozen=True, kw_only=True):
    """A request to `POST /v1/embeddings`."""

    input: Annotated[
        str | tuple[str | TokenID | tuple[TokenID, ...], ...],
        Meta(
            description="A text, or its token ids in the model's vocabulary, or a list of either: so many vectors "
            f"come, in this order. At most {MOST_INPUTS}, none of them empty."
        ),
    ]
    encoding_format: (
        Annotated[
            Literal["float", "base64"],
            Meta(description="base64 has the same numbers: of 32 bits each, little-endian. float unless said."),
        ]
        | None
    ) = None
    dimensions: (
        Annotated[int, Meta(ge=1, le=INT32_MAX, description="One of those that the model has in /v1/models.")] | None
    ) = None
    truncate_prompt_tokens: Truncation | None = None


def inputs_of(asked: EmbeddingsRequest) -> tuple[tuple[Text | Tokens, ...], bool]:
    """Return the inputs in their order, and whether they came as a list.

    Raises:
        InvalidRequest: there are none or too many, one is empty, or they are of several kinds.
    """
    given = asked.input
    if isinstance(given, str):
        return (_text(given, "input"),), False
    if not given:
        raise _invalid("input", "it is empty; at least one text is needed")
    if isinstance(given[0], int):
        return (_tokens(given, "input"),), False
    if len(given) > MOST_INPUTS:
        raise _invalid("input", f"it has {len(given)} texts; at most {MOST_INPUTS} are allowed in one request")
    kind = type(given[0])
    found: list[Text | Tokens] = []
    for at, one in enumerate(given):
        place = f"input[{at}]"
        if type(one) is not kind:
            raise _invalid(place, "a list holds texts, or lists of token ids, and not both")
        if isinstance(one, str):
            found.append(_text(one, place))
        elif isinstance(one, tuple):
            found.append(_tokens(one, place))
    return tuple(found), True


def truncate_tokens(asked: int | None) -> int | None:
    """What `truncate_prompt_tokens` of *asked* means to an instance.

    Raises:
        InvalidRequest: nothing would be left.
    """
    if asked == 0:
        raise _invalid("truncate_prompt_tokens", "nothing would be left; it is -1, or at least 1")
    return INT32_MAX if asked == -1 else asked


def embedding_request(asked: EmbeddingsRequest, request_id: str) -> tuple[EmbeddingRequest, bool]:
    """Build what an instance is asked, and say whether the inputs came as a list. Raises as its parts."""
    inputs, is_list = inputs_of(asked)
    cut = truncate_tokens(asked.truncate_prompt_tokens)
    return EmbeddingRequest(id=request_id, inputs=inputs, truncate_tokens=cut), is_list


def _text(text: str, place: str) -> Text:
    if not text:
        raise _invalid(place, "it is empty")
    return Text(text)


def _tokens(ids: tuple[object, ...], place: str) -> Tokens:
    if not ids:
        raise _invalid(place, "it is empty")
    checked: list[int] = []
    for at, token in enumerate(ids):
        if not isinstance(token, int):
            raise _invalid(f"{place}[{at}]", "a list of token ids holds nothing else")
        checked.append(token)
    return Tokens(tuple(checked))


def _invalid(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param)
