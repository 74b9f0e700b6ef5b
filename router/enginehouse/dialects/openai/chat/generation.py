"""From a decoded request to what an instance is asked: every default is decided here, and no value is replaced."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse.config import Defaults
from enginehouse.dialects.openai.chat.messages import AssistantMessage, ChatMessage, RefusalPart
from enginehouse.dialects.openai.chat.request import (
    AllowedToolsChoice,
    ChatRequest,
    CustomTool,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedFunction,
    ResponseFormat,
)
from enginehouse_plugin import Profile
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a request to one model gets where it is silent."""

    temperature: float
    top_p: float
    max_tokens: int | None
    top_k: int
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    reasoning_effort: str | None
    chat_template_kwargs: dict[str, Any] | None  # goes to the model's own template


def settled(defaults: Defaults, profile: Profile) -> Settled:
    """Return what holds for a model: its own *defaults*, else the profile's, else the API's."""
    return Settled(
        temperature=_first(defaults.temperature, profile.default_temperature, 1.0),
        top_p=_first(defaults.top_p, profile.default_top_p, 1.0),
        max_tokens=_first(defaults.max_tokens, profile.default_max_tokens, None),
        top_k=_first(defaults.top_k, 0),
        min_p=_first(defaults.min_p, 0.0),
        frequency_penalty=_first(defaults.frequency_penalty, 0.0),
        presence_penalty=_first(defaults.presence_penalty, 0.0),
        repetition_penalty=_first(defaults.repetition_penalty, 1.0),
        seed=defaults.seed,
        stop=_first(defaults.stop, ()),
        reasoning_effort=defaults.reasoning_effort,
        chat_template_kwargs=defaults.chat_template_kwargs,
    )


def _first(*values: Any) -> Any:  # the first that is not None, whatever their type
    return next((value for value in values if value is not None), None)


def generation_request(
    chat: ChatRequest, *, request_id: str, profile: Profile, silent: Settled
) -> contract.GenerationRequest:
    """Build what an instance is asked: the request's own values, and where it is silent those of *silent*.

    Raises:
        InvalidRequest: a value is beyond a limit of *profile*.
    """
    _check_limits(chat, profile)
    tools, tool_choice = ((), "none") if chat.tools is None else _tools(chat, chat.tools)
    max_tokens = _limit(chat)
    stop = (chat.stop,) if isinstance(chat.stop, str) else chat.stop
    variables = chat.chat_template_kwargs
    if variables is None:
        variables = silent.chat_template_kwargs
    elif silent.chat_template_kwargs is not None:
        # The model's variables stand beside the request's; where both name one, the request's holds.
        variables = {**silent.chat_template_kwargs, **variables}
    return contract.GenerationRequest(
        id=request_id,
        prompt=contract.Chat(_messages(chat.messages)),
        stream=chat.stream is True,
        n=1 if chat.n is None else chat.n,
        max_tokens=silent.max_tokens if max_tokens is None else max_tokens,
        temperature=silent.temperature if chat.temperature is None else chat.temperature,
        top_p=silent.top_p if chat.top_p is None else chat.top_p,
        top_k=silent.top_k if chat.top_k is None else chat.top_k,
        min_p=silent.min_p if chat.min_p is None else chat.min_p,
        frequency_penalty=silent.frequency_penalty if chat.frequency_penalty is None else chat.frequency_penalty,
        presence_penalty=silent.presence_penalty if chat.presence_penalty is None else chat.presence_penalty,
        repetition_penalty=silent.repetition_penalty if chat.repetition_penalty is None else chat.repetition_penalty,
        logit_bias={} if chat.logit_bias is None else chat.logit_bias,
        seed=silent.seed if chat.seed is None else chat.seed,
        stop=silent.stop if stop is None else stop,
        logprobs=chat.logprobs is True,
        top_logprobs=0 if chat.top_logprobs is None else chat.top_logprobs,
        output=None if chat.response_format is None else _output(chat.response_format),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=chat.parallel_tool_calls is not False,
        reasoning_effort=silent.reasoning_effort if chat.reasoning_effort is None else chat.reasoning_effort,
        chat_template_kwargs=variables or None,
    )


def _check_limits(chat: ChatRequest, profile: Profile) -> None:
    if chat.n is not None and chat.n > profile.max_n:
        raise _above("n", "integer", chat.n, profile.max_n)
    if chat.temperature is not None and chat.temperature > profile.max_temperature:
        raise _above("temperature", "decimal", chat.temperature, profile.max_temperature)
    if chat.top_logprobs is not None and chat.top_logprobs > profile.max_top_logprobs:
        raise _above("top_logprobs", "integer", chat.top_logprobs, profile.max_top_logprobs)
    if isinstance(chat.stop, tuple) and len(chat.stop) > profile.max_stop:
        raise InvalidRequest(
            f"Invalid 'stop': array too long. Expected an array with maximum length {profile.max_stop}, "
            f"but got length {len(chat.stop)} instead.",
            param="stop",
            code="array_above_max_length",
        )


def _above(param: str, noun: str, value: float, limit: float) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': {noun} above maximum value. Expected a value <= {limit:g}, but got {value:g} instead.",
        param=param,
        code=f"{noun}_above_max_value",
    )


def _limit(chat: ChatRequest) -> int | None:
    """Return the smaller of the two names' values: both are upper bounds, so it satisfies both."""
    newer, older = chat.max_completion_tokens, chat.max_tokens
    if newer is None or older is None:
        return older if newer is None else newer
    return min(newer, older)


def _output(wanted: ResponseFormat) -> contract.OutputFormat | None:
    if isinstance(wanted, JsonObjectFormat):
        return contract.JsonObject()
    if isinstance(wanted, JsonSchemaFormat):
        spec = wanted.json_schema
        return contract.JsonSchema(
            name=spec.name, schema=spec.schema, description=spec.description, strict=bool(spec.strict)
        )
    return None


def _tools(
    chat: ChatRequest, given: tuple[FunctionTool | CustomTool, ...]
) -> tuple[tuple[contract.Tool, ...], contract.ToolChoice]:
    functions = [tool.function for tool in given if isinstance(tool, FunctionTool)]
    if not functions:
        return (), "none"
    choice: contract.ToolChoice = "auto"
    if isinstance(chat.tool_choice, str):
        choice = chat.tool_choice
    elif isinstance(chat.tool_choice, NamedFunction):
        choice = contract.NamedTool(name=chat.tool_choice.function.name)
    elif isinstance(chat.tool_choice, AllowedToolsChoice):
        allowed = chat.tool_choice.allowed_tools
        choice = allowed.mode
        names = {tool.function.name for tool in allowed.tools if isinstance(tool, NamedFunction)}
        functions = [function for function in functions if function.name in names]
    tools = tuple(
        contract.Tool(
            name=function.name,
            description=function.description,
            parameters=function.parameters,
            strict=bool(function.strict),
        )
        for function in functions
    )
    return tools, choice


def _messages(messages: tuple[ChatMessage, ...]) -> tuple[contract.Message, ...]:
    """Return the conversation as the contract has it: as it is, unless a refusal is written as a part."""
    for message in messages:
        if type(message) is AssistantMessage and _has_refusal_part(message):
            return tuple(_without_refusal_parts(each) if type(each) is AssistantMessage else each for each in messages)
    return messages


def _has_refusal_part(message: AssistantMessage) -> bool:
    return isinstance(message.content, tuple) and any(isinstance(part, RefusalPart) for part in message.content)


def _without_refusal_parts(message: AssistantMessage) -> contract.Message:
    if not _has_refusal_part(message):
        return message
    parts = message.content if isinstance(message.content, tuple) else ()
    refusals = [part.refusal for part in parts if isinstance(part, RefusalPart)]
    texts = tuple(part for part in parts if not isinstance(part, RefusalPart))
    return msgspec.structs.replace(message, content=texts or None, refusal="".join([message.refusal or "", *refusals]))
