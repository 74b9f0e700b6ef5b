"""The structs of a request to completions, and what they become: no value is replaced, none is ignored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from msgspec import Meta

from enginehouse.dialects.openai.chat.endings import check_min_tokens, said_of_endings
from enginehouse.dialects.openai.chat.request import (
    INT32_MAX,
    INT64_MAX,
    IgnoreEos,
    MinTokens,
    Penalty,
    StreamOptions,
    TokenCount,
    TokenID,
)
from enginehouse.dialects.openai.chat.rules import check_stream_options
from enginehouse.dialects.openai.plain import PlainBody
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

MOST_PROMPTS = 64
DEFAULT_MAX_TOKENS = 16
"""What the reference has where a request is silent."""


class CompletionsRequest(PlainBody, frozen=True, kw_only=True):
    """A request to `POST /v1/completions`."""

    prompt: Annotated[
        str | tuple[str | TokenID | tuple[TokenID, ...], ...],
        Meta(description="One prompt: text, or token ids of the model's vocabulary; or a list of several of these."),
    ]
    max_tokens: Annotated[TokenCount, Meta(description="Most tokens of the answer; 16 unless said.")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2, description="0 is greedy.")] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1, description="Share of probability to sample from.")] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=INT32_MAX, description="0 and -1 are off.")] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    logit_bias: dict[TokenID, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=INT64_MAX)] | None = None
    n: Annotated[int, Meta(ge=1, le=128, description="Number of choices.")] | None = None
    min_tokens: MinTokens | None = None
    ignore_eos: IgnoreEos | None = None
    best_of: (
        Annotated[int, Meta(ge=1, le=128, description="Make as many and give the 'n' likeliest; not streamed.")] | None
    ) = None
    stop: str | Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=4)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5, description="Alternatives per token, beside its own.")] | None = None
    echo: Annotated[bool, Meta(description="The text of the prompt stands before the answer.")] | None = None
    stream: Annotated[bool, Meta(description="Send the answer as server-sent events.")] | None = None
    stream_options: Annotated[StreamOptions | None, Meta(description="Only with 'stream'.")] = None
    suffix: (
        Annotated[
            str,
            Meta(
                description="The answer is filled in before this text. In both texts control tokens are mere text. "
                "Only models that were made for it can."
            ),
        ]
        | None
    ) = None


_SAME = (
    "stream", "n", "max_tokens", "temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "seed", "suffix",
)  # fmt: skip
"""Fields that the contract has as they are."""


def generation_request(
    asked: CompletionsRequest, *, request_id: str
) -> tuple[contract.GenerationRequest, Collection[str], tuple[contract.Prompt, ...]]:
    """Build what an instance is asked, name the fields that the request says itself, and tell all its prompts.

    Raises:
        InvalidRequest: fields do not go together, or cannot be honoured.
    """
    prompts = _prompts(asked)
    first = prompts[0]
    check_stream_options(asked.stream_options, is_stream=bool(asked.stream))
    if asked.stop == "":
        raise _invalid("stop", "an empty string would end every answer at once; leave it out")
    _check_best_of(asked)
    check_min_tokens(asked.min_tokens, DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens)
    if len(prompts) > 1 and asked.stream_options is not None and asked.stream_options.continuous_usage_stats:
        raise _invalid(
            "stream_options.continuous_usage_stats", "it is only allowed with one prompt; of several the sum is told"
        )
    if asked.echo and not isinstance(first, contract.Text):
        raise _invalid("echo", "only a prompt that is text can stand before the answer")
    if asked.echo and asked.logprobs is not None:
        raise _invalid("echo", "the prompt's tokens have no 'logprobs' here")
    said: dict[str, Any] = {name: value for name in _SAME if (value := getattr(asked, name)) is not None}
    if asked.top_k is not None:
        said["top_k"] = max(asked.top_k, 0)
    if asked.stop is not None:
        said["stop"] = (asked.stop,) if isinstance(asked.stop, str) else asked.stop
    if asked.logprobs is not None:
        said["logprobs"], said["top_logprobs"] = True, asked.logprobs
    if asked.best_of is not None and asked.best_of > (asked.n or 1):
        said["n"], said["logprobs"] = asked.best_of, True
    said |= said_of_endings(asked)
    values: dict[str, Any] = {"max_tokens": DEFAULT_MAX_TOKENS, **said}
    request = contract.GenerationRequest(id=request_id, prompt=first, logit_bias=asked.logit_bias or {}, **values)
    return request, said.keys(), prompts


def _check_best_of(asked: CompletionsRequest) -> None:
    if asked.best_of is None:
        return
    if asked.best_of < (asked.n or 1):
        raise _invalid("best_of", f"fewer answers are made than 'n' wants ({asked.n})")
    if asked.stream and asked.best_of > (asked.n or 1):
        raise _invalid("best_of", "which answers are best is known at their end; leave 'stream' out")


def _prompts(asked: CompletionsRequest) -> tuple[contract.Prompt, ...]:
    given: Any = asked.prompt
    if isinstance(given, str):
        return (_one(given, "prompt"),)
    first: Any = next(iter(given), None)
    if first is None or isinstance(first, int):
        return (_one(given, "prompt"),)
    kind = type(first)
    for at, each in enumerate(given):
        if type(each) is not kind:
            raise _invalid(f"prompt[{at}]", "prompts are all texts, or all lists of token ids")
    if len(given) > MOST_PROMPTS:
        raise _invalid("prompt", f"at most {MOST_PROMPTS} prompts are answered together, and here are {len(given)}")
    place = "prompt" if len(given) == 1 else "prompt[{}]"
    return tuple(_one(each, place.format(at)) for at, each in enumerate(given))


def _one(given: Any, place: str) -> contract.Prompt:
    if not given:
        raise _invalid(place, "it is empty; at least one token is needed")
    if isinstance(given, str):
        return contract.Text(given)
    for at, token in enumerate(given):
        if not isinstance(token, int):
            raise _invalid(f"{place}[{at}]", "a list of token ids holds nothing else")
    return contract.Tokens(tuple(given))


def _invalid(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param)
