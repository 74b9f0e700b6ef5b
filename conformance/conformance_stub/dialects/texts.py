"""The stub's endpoints that generate nothing: vectors and scores made of a text's tokens, and the tokens themselves."""

from __future__ import annotations

import base64
import math
import struct
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from conformance_stub import fields, vocabulary
from conformance_stub.fields import Body, Problem
from conformance_stub.wire_parts import Rejected

from .base import Route

_LENGTH = 16
_MOST_INPUTS = 2048


class Plain(Route):
    """An endpoint whose answer is made of the request at once."""

    @abstractmethod
    def made(self, body: Body, model: str, context_tokens: int) -> Body:
        """The answer to *body*."""


def _input(value: Any, body: Body) -> Problem:
    del body
    given = value if isinstance(value, list) else [value]
    is_tokens = isinstance(value, list) and value and type(value[0]) is int
    items = [value] if is_tokens else given
    if not items or len(items) > _MOST_INPUTS:
        return f"must be 1 to {_MOST_INPUTS} texts or lists of tokens"
    if len({type(item) for item in items}) > 1:
        return "must hold texts or lists of tokens, and not both"
    for item in items:
        if not isinstance(item, str | list) or not item:
            return "must be texts or lists of tokens, none of them empty"
        if isinstance(item, list) and not all(type(token) is int and 0 <= token < vocabulary.SIZE for token in item):
            return f"must hold tokens from 0 to {vocabulary.SIZE - 1}"
    return None


def _encoding(value: Any, body: Body) -> Problem:
    del body
    return None if value in ("float", "base64") else "must be float or base64"


class Embeddings(Plain):
    """`POST /embeddings`."""

    name = "embeddings"
    path = "/embeddings"
    required = ("model", "input")
    fields = {  # never changed
        "model": fields.text, "input": _input, "encoding_format": _encoding, "user": fields.text,
        "dimensions": fields.integer(1, _LENGTH),
    }  # fmt: skip

    def made(self, body: Body, model: str, context_tokens: int) -> Body:
        """A vector for each input."""
        given = body["input"]
        items = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        read = [vocabulary.encode(item) if isinstance(item, str) else item for item in items]
        for at, tokens in enumerate(read):
            _check_length(tokens, context_tokens, f"input[{at}]")
        size = body.get("dimensions") or _LENGTH
        made = [_vector(tokens)[:size] for tokens in read]
        made = [[number / math.hypot(*one) for number in one] for one in made]
        shown = [_base64(one) if body.get("encoding_format") == "base64" else one for one in made]
        total = sum(map(len, read))
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(shown)],
            "model": model,
            "usage": {"prompt_tokens": total, "total_tokens": total},
        }


def _vector(tokens: Sequence[int]) -> list[float]:
    """Numbers that each token and its place have a share in; none is 0 for sure, so that any length can be made one."""
    made = [1.0] * _LENGTH
    for place, token in enumerate(tokens):
        made[(token * 7 + place) % _LENGTH] += 1.0 + token / vocabulary.SIZE
    return made


def _base64(numbers: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _check_length(tokens: Sequence[int], context_tokens: int, place: str) -> None:
    if len(tokens) > context_tokens:
        told = f"{place} has {len(tokens)} tokens, and the context {context_tokens}"
        raise Rejected(told, param=place, code="context_length_exceeded")


def _documents(value: Any, body: Body) -> Problem:
    del body
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_INPUTS:
        return f"must be a list of 1 to {_MOST_INPUTS} documents"
    texts = [one.get("text") if isinstance(one, dict) else one for one in value]
    return None if all(isinstance(one, str) and one for one in texts) else "must be texts, or objects that have one"


def _query(value: Any, body: Body) -> Problem:
    del body
    return None if isinstance(value, str) and value else "must be a text that is not empty"


class Rerank(Plain):
    """`POST /rerank`."""

    name = "rerank"
    path = "/rerank"
    required = ("model", "query", "documents")
    fields = {  # never changed
        "model": fields.text, "query": _query, "documents": _documents, "top_n": fields.integer(1),
        "return_documents": fields.boolean,
    }  # fmt: skip

    def made(self, body: Body, model: str, context_tokens: int) -> Body:
        """A score for each document: the share of letters that it has in common with the query."""
        texts = [one["text"] if isinstance(one, dict) else one for one in body["documents"]]
        asked = set(body["query"].lower().split())
        total = 0
        scored = []
        for at, text in enumerate(texts):
            tokens = vocabulary.encode(body["query"] + text)
            _check_length(tokens, context_tokens, f"documents[{at}]")
            total += len(tokens)
            common = len(asked & set(text.lower().split())) + 1 / (2 + len(text))
            scored.append((at, common / (1 + common) / (1 + len(body["query"]) / 1000)))
        scored.sort(key=lambda one: -one[1])
        results = []
        for at, score in scored[: body.get("top_n")]:
            shown = {"document": {"text": texts[at]}} if body.get("return_documents") else {}
            results.append({"index": at, "relevance_score": score, **shown})
        usage = {"prompt_tokens": total, "total_tokens": total}
        return {"id": "rerank-1", "model": model, "results": results, "usage": usage}


def _prompt(value: Any, body: Body) -> Problem:
    if body.get("messages") is not None:
        return "and messages cannot be given together"
    return None if isinstance(value, str) else "must be a text"


class Tokenize(Plain):
    """`POST /tokenize`, and `/detokenize` beside it."""

    name = "tokenize"
    path = "/tokenize"
    is_at_host = True
    required = ("model",)
    fields = {  # never changed
        "model": fields.text, "prompt": _prompt, "messages": fields.messages, "add_special_tokens": fields.boolean,
        "return_token_strs": fields.boolean,
    }  # fmt: skip

    def made(self, body: Body, model: str, context_tokens: int) -> Body:
        """The tokens of a text; those of a conversation the desk knows."""
        del model
        tokens = body.get("rendered")
        if tokens is None:
            if body.get("prompt") is None:
                raise Rejected("one of prompt and messages is required", param="prompt")
            tokens = vocabulary.encode(body["prompt"])
        told: Body = {"count": len(tokens), "max_model_len": context_tokens, "tokens": tokens}
        if body.get("return_token_strs"):
            told["token_strs"] = [vocabulary.text_of(token).decode("utf-8", "replace") for token in tokens]
        return told


def _tokens(value: Any, body: Body) -> Problem:
    del body
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one < vocabulary.SIZE for one in value):
        return f"must be tokens from 0 to {vocabulary.SIZE - 1}"
    return None


class Detokenize(Plain):
    """`POST /detokenize`."""

    name = "detokenize"
    path = "/detokenize"
    is_at_host = True
    required = ("model", "tokens")
    fields = {"model": fields.text, "tokens": _tokens}  # never changed

    def made(self, body: Body, model: str, context_tokens: int) -> Body:
        """Their text."""
        del model, context_tokens
        return {"prompt": b"".join(map(vocabulary.text_of, body["tokens"])).decode("utf-8", "replace")}
