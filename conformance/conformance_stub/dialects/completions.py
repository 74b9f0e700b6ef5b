"""The stub's completions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from conformance_stub import fields, vocabulary
from conformance_stub.fields import Body, Problem
from conformance_stub.wire_parts import entries

from .base import Dialect, Made, Said, set_where

_DEFAULT_TOKENS = 16


def _prompt(value: Any, body: Body) -> Problem:
    del body
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], int):
        value = value[0]
    if isinstance(value, str):
        return None if value else "must not be empty"
    is_tokens = isinstance(value, list) and value and all(type(each) is int for each in value)
    if not is_tokens:
        return "must be a text or an array of token ids"
    return None if all(0 <= each < vocabulary.SIZE for each in value) else "has a token outside the vocabulary"


def _best_of(value: Any, body: Body) -> Problem:
    return None if value == (body.get("n") or 1) else "must be as large as n"


class Completions(Dialect):
    """`POST /completions`."""

    name = "completions"
    path = "/completions"
    required = ("model", "prompt")
    places = {"messages": "prompt"}  # never changed
    fields = {  # never changed
        **{name: fields.FIELDS[name] for name in (
            "model", "max_tokens", "temperature", "top_p", "n", "seed", "stop", "logit_bias", "presence_penalty",
            "frequency_penalty", "stream", "stream_options", "user",
        )},
        "prompt": _prompt, "logprobs": fields.integer(0, 5), "echo": fields.boolean,
        "best_of": _best_of, "suffix": fields.text,
    }  # fmt: skip

    def chat(self, body: Body) -> Body:
        """The request; its prompt is raw."""
        given = body["prompt"]
        if isinstance(given, list) and not isinstance(given[0], int):
            given = given[0]
        if suffix := body.get("suffix"):  # what stands behind is read first, and what is written goes on before it
            before = vocabulary.encode(given) if isinstance(given, str) else given
            given = [*vocabulary.encode(suffix), *before]
        made: Body = {"messages": [{"role": "user", "content": ""}], "raw": given}
        for name in (
            "temperature",
            "top_p",
            "n",
            "seed",
            "stop",
            "logit_bias",
            "presence_penalty",
            "frequency_penalty",
        ):
            set_where(made, **{name: body.get(name)})
        made["max_tokens"] = body.get("max_tokens") or _DEFAULT_TOKENS
        if body.get("logprobs") is not None:
            made |= {"logprobs": True, "top_logprobs": body["logprobs"]}
        return made

    def events(self, body: Body, said: Said, model: str, created: int) -> Iterator[Made]:
        """The chunks."""
        base = {"id": f"cmpl-{secrets.token_hex(8)}", "object": "text_completion", "created": created, "model": model}
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunk = {**base, "usage": None} if wants_usage else base
        for at, choice in enumerate(said.by_choice()):
            given = body["prompt"] if isinstance(body["prompt"], str) else ""
            offset = len(given) if body.get("echo") else 0
            if body.get("echo"):
                yield "", {**chunk, "choices": [_choice(at, given)]}
            for text, logprobs in choice.texts:
                yield "", {**chunk, "choices": [_choice(at, text, logprobs=_logprobs(body, logprobs, offset))]}
                offset += len(text)
            yield "", {**chunk, "choices": [_choice(at, "", finish=choice.reason)]}
        usage = said.usage
        counts = {
            "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }  # fmt: skip
        yield "usage", {**base, "choices": [], "usage": counts}

    def whole(self, events: Sequence[Made]) -> Body:
        """One answer of all chunks."""
        choices: dict[int, Body] = {}
        for _, data in events:
            for piece in data["choices"]:
                choice = choices.setdefault(piece["index"], _choice(piece["index"], ""))
                choice["text"] += piece["text"]
                choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
                if piece["logprobs"] is not None:
                    before = choice["logprobs"] or {name: [] for name in piece["logprobs"]}
                    choice["logprobs"] = {name: before[name] + piece["logprobs"][name] for name in before}
        return {**events[-1][1], "choices": list(choices.values())}

    def streamed(self, events: list[Made], body: Body) -> list[Made]:
        """The chunks; usage only where it was asked for."""
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return events if wants_usage else events[:-1]

    def piece(self, event: Made) -> bytes:
        """*event* without a name."""
        return b"data: %b\n\n" % msgspec.json.encode(event[1])

    def ending(self) -> bytes:
        """What ends a stream."""
        return b"data: [DONE]\n\n"


def _choice(index: int, text: str, *, finish: str | None = None, logprobs: Body | None = None) -> Body:
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs}


def _logprobs(body: Body, given: Any, offset: int) -> Body | None:
    if body.get("logprobs") is None:
        return None
    made = entries(given or ())
    offsets = []
    for each in made:
        offsets.append(offset)
        offset += len(each["token"])
    return {
        "tokens": [each["token"] for each in made],
        "token_logprobs": [each["logprob"] for each in made],
        "top_logprobs": [{top["token"]: top["logprob"] for top in each["top_logprobs"]} for each in made],
        "text_offset": offsets,
    }
