"""Features: named, testable capabilities. They are data, and they drive routing, /v1/models and conformance.

A feature is needed by a request because of a field; `param` is the field that an error names.
Core features (every instance has them) are not listed: chat, temperature, top_p, max_tokens, usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

import msgspec

from .embedding import Task
from .request import (
    AssistantMessage,
    AudioPart,
    Chat,
    ContentPart,
    DeveloperMessage,
    FilePart,
    GenerationRequest,
    ImagePart,
    JsonObject,
    NamedTool,
    Text,
)

FEATURES: dict[str, str] = {
    "streaming": "the answer arrives while it is made",
    "n": "several choices for one prompt",
    "stop": "stop strings, matched in text",
    "seed": "the same seed and request give the same answer",
    "frequency_penalty": "over the whole output",
    "presence_penalty": "over the whole output",
    "repetition_penalty": "multiplicative, over prompt and output",
    "logit_bias": "by token id, -100 to 100",
    "logprobs": "of sampled tokens and alternatives, from raw logits",
    "min_tokens": "an answer has at least so many tokens",
    "ignore_eos": "an answer goes on to its limit",
    "continue_final_message": "an answer goes on where the assistant's last message ends",
    "suffix": "an answer is filled in before a text",
    "top_k": "sampling among the k likeliest",
    "min_p": "sampling above a share of the likeliest",
    "json_object": "any JSON object, enforced",
    "json_schema": "JSON Schema, enforced",
    "tools": "tools may be given; none and auto",
    "tool_choice_required": "at least one call is forced",
    "tool_choice_named": "a call of one tool is forced",
    "parallel_tool_calls": "several calls in one answer, and at most one when false",
    "developer_role": "the developer role",
    "reasoning": "reasoning is told apart from the answer",
    "reasoning_effort": "effort of reasoning can be chosen",
    "chat_template_kwargs": "variables for the model's own chat template",
    "image_input": "image parts",
    "audio_input": "audio parts",
    "file_input": "file parts",
    "prefix_cache": "repeated prompt prefixes are not computed again, and cached tokens are reported",
}


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance can do. `context_tokens` counts prompt and completion together.

    `limits` bounds features that have a size: `n`, `top_logprobs`, `stop` (number of strings).
    `max_concurrent_requests` is the number of sequences that run at once; a request takes `n` of them. `tasks` is what
    it is for. `dimensions` are how long its vectors may be: first their own length, then those they may be cut to.
    """

    context_tokens: int
    max_concurrent_requests: int
    tasks: frozenset[Task] = frozenset({"chat"})
    features: frozenset[str] = frozenset()
    limits: dict[str, int] = {}
    vocabulary_size: int | None = None
    dimensions: tuple[int, ...] = ()


class Need(msgspec.Struct, frozen=True):
    """A request needs *feature* because of field *param*; *size* is compared with the feature's limit.

    *turns_off* names the feature that the field turns off: to a model without that one, it asks for nothing.
    """

    feature: str
    param: str
    size: int | None = None
    turns_off: str | None = None


def needs(request: GenerationRequest) -> Iterator[Need]:
    """Features that *request* needs, each with the field that asks for it."""
    if _is_plain(request):
        return iter(_STREAMED if request.stream else ())
    return _all_needs(request)


_STREAMED = (Need("streaming", "stream"),)


def _all_needs(request: GenerationRequest) -> Iterator[Need]:
    if request.stream:
        yield from _STREAMED
    if request.n > 1:
        yield Need("n", "n", request.n)
    if request.stop:
        yield Need("stop", "stop", len(request.stop))
    if request.seed is not None:
        yield Need("seed", "seed")
    if request.frequency_penalty:
        yield Need("frequency_penalty", "frequency_penalty")
    if request.presence_penalty:
        yield Need("presence_penalty", "presence_penalty")
    if request.repetition_penalty != 1.0:
        yield Need("repetition_penalty", "repetition_penalty")
    if request.logit_bias:
        yield Need("logit_bias", "logit_bias")
    if request.logprobs:
        yield Need("logprobs", "logprobs")
        if request.top_logprobs:
            yield Need("logprobs", "top_logprobs", request.top_logprobs)
    if request.min_tokens:
        yield Need("min_tokens", "min_tokens")
    if request.ignore_eos:
        yield Need("ignore_eos", "ignore_eos")
    if request.continue_final_message:
        yield Need("continue_final_message", "continue_final_message")
    if request.suffix:
        yield Need("suffix", "suffix")
    if request.top_k:
        yield Need("top_k", "top_k")
    if request.min_p:
        yield Need("min_p", "min_p")
    if request.output is not None:
        yield Need("json_object" if isinstance(request.output, JsonObject) else "json_schema", "response_format")
    if request.tools:
        yield Need("tools", "tools")
        if request.tool_choice == "required":
            yield Need("tool_choice_required", "tool_choice")
        elif isinstance(request.tool_choice, NamedTool):
            yield Need("tool_choice_named", "tool_choice")
        if not request.parallel_tool_calls:
            yield Need("parallel_tool_calls", "parallel_tool_calls")
    if request.reasoning_effort is not None:
        off = "reasoning" if request.reasoning_effort in _NO_EFFORT else None
        yield Need("reasoning_effort", "reasoning_effort", turns_off=off)
    if request.chat_template_kwargs:
        off = "reasoning" if request.chat_template_kwargs == _NO_THINKING else None
        yield Need("chat_template_kwargs", "chat_template_kwargs", turns_off=off)
    prompt = request.prompt
    if type(prompt) is not Chat:
        return
    for at, message in enumerate(prompt.messages):
        if type(message) not in _PLAIN:
            if isinstance(message, DeveloperMessage):
                yield Need("developer_role", f"messages[{at}].role")
            elif not isinstance(message, AssistantMessage):
                _PLAIN.add(type(message))
            elif message.tool_calls:
                yield Need("tools", f"messages[{at}].tool_calls")
        if message.content and not isinstance(message.content, str):
            yield from _needs_of_parts(at, message.content)


_NO_EFFORT = frozenset({"none", "minimal"})
_NO_THINKING = {"enable_thinking": False}
_PLAIN: set[type] = set()
"""Types of messages whose role needs nothing, as they are met: `isinstance` is slow on structs, and this runs often."""
_PARTS: dict[type, str] = {ImagePart: "image_input", AudioPart: "audio_input", FilePart: "file_input"}


def _needs_of_parts(at: int, parts: Iterable[ContentPart]) -> Iterator[Need]:
    for index, part in enumerate(parts):
        for kind, feature in _PARTS.items():
            if isinstance(part, kind):
                yield Need(feature, f"messages[{at}].content[{index}].type")


_asked = attrgetter(
    "n", "stop", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "logprobs",
    "top_k", "min_p", "min_tokens", "ignore_eos", "continue_final_message", "suffix",
    "output", "tools", "reasoning_effort", "chat_template_kwargs",
)  # fmt: skip
_NOTHING_ASKED = _asked(GenerationRequest(id="", prompt=Text("")))


def _is_plain(request: GenerationRequest) -> bool:
    """Whether *request* needs nothing but streaming, told at a fraction of the cost of `needs`."""
    if _asked(request) != _NOTHING_ASKED:
        return False
    prompt = request.prompt
    if type(prompt) is Chat:
        for message in prompt.messages:
            if type(message) not in _PLAIN or type(message.content) is not str:
                return False
    return True


def missing(request: GenerationRequest, capabilities: Capabilities) -> list[Need]:
    """Needs of *request* that *capabilities* do not meet, the limit of a feature included."""
    if _is_plain(request) and (not request.stream or "streaming" in capabilities.features):
        return []
    return [need for need in needs(request) if not _is_met(need, capabilities)]


def _is_met(need: Need, capabilities: Capabilities) -> bool:
    limit = capabilities.limits.get(need.param)
    return need.feature in capabilities.features and (limit is None or need.size is None or need.size <= limit)
