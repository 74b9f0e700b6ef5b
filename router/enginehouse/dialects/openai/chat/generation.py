"""From a decoded request to what an instance is asked: no value is replaced."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from enginehouse.dialects.openai.chat.endings import said_of_endings
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


def generation_request(
    chat: ChatRequest, *, request_id: str, profile: Profile
) -> tuple[contract.GenerationRequest, Collection[str]]:
    """Build what an instance is asked, and name the fields that the request says itself.

    The others have the API's own values: what a model's defaults put there is the fleet's to know.

    Raises:
        InvalidRequest: the tokens that *profile* shares among choices are too few for them.
    """
    said: dict[str, Any] = {}
    if chat.stream is not None:
        said["stream"] = chat.stream
    if chat.n is not None:
        said["n"] = chat.n
    if chat.max_completion_tokens is not None or chat.max_tokens is not None:
        said["max_tokens"] = _limit(chat, profile)
        said["max_tokens_must_fit"] = profile.max_tokens_must_fit and chat.max_tokens is not None
    if chat.temperature is not None:
        said["temperature"] = chat.temperature
    if chat.top_p is not None:
        said["top_p"] = chat.top_p
    if chat.top_k is not None:
        said["top_k"] = max(chat.top_k, 0)
    if chat.min_p is not None:
        said["min_p"] = chat.min_p
    said |= said_of_endings(chat)
    if chat.frequency_penalty is not None:
        said["frequency_penalty"] = chat.frequency_penalty
    if chat.presence_penalty is not None:
        said["presence_penalty"] = chat.presence_penalty
    if chat.repetition_penalty is not None:
        said["repetition_penalty"] = chat.repetition_penalty
    if chat.seed is not None:
        said["seed"] = chat.seed
    if chat.stop is not None:
        said["stop"] = (chat.stop,) if isinstance(chat.stop, str) else chat.stop
    if chat.logprobs is not None:
        said["logprobs"] = chat.logprobs
    if chat.top_logprobs is not None:
        said["top_logprobs"] = chat.top_logprobs
    if chat.response_format is not None:
        said["output"] = _output(chat.response_format)
    if chat.tools is not None:
        said["tools"], said["tool_choice"] = _tools(chat, chat.tools)
    if chat.parallel_tool_calls is not None:
        said["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.reasoning_effort is not None:
        said["reasoning_effort"] = chat.reasoning_effort
    if chat.chat_template_kwargs is not None or chat.thinking is not None:
        variables = dict(chat.chat_template_kwargs or {})
        if chat.thinking is not None:
            variables["enable_thinking"] = False
        said["chat_template_kwargs"] = variables or None
    request = contract.GenerationRequest(
        id=request_id,
        prompt=contract.Chat(_messages(chat.messages)),
        logit_bias=chat.logit_bias or {},  # nothing that changes is shared by two requests
        **said,
    )
    return request, said.keys()


def _limit(chat: ChatRequest, profile: Profile) -> int | None:
    """Return the smaller of the two names' values: both are upper bounds, so it satisfies both.

    Where the newer one spans the run, its choices share it.
    """
    newer, older = chat.max_completion_tokens, chat.max_tokens
    if newer is not None and chat.n is not None and profile.max_completion_tokens_spans == "run":
        if newer < chat.n:
            raise InvalidRequest(
                f"Invalid 'max_completion_tokens': it is for all choices together, and {chat.n} choices need a token "
                f"each. Expected a value >= {chat.n}, but got {newer} instead.",
                param="max_completion_tokens",
                code="integer_below_min_value",
            )
        newer //= chat.n
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
        choice = "required" if chat.tool_choice == "any" else chat.tool_choice
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
    """Return the conversation as the contract has it: as it is, unless an assistant's message has to be put in form."""
    for message in messages:
        if type(message) is AssistantMessage and not _is_in_form(message):
            return tuple(_in_form(each) if type(each) is AssistantMessage else each for each in messages)
    return messages


def _is_in_form(message: AssistantMessage) -> bool:
    """Whether *message* says something, in the contract's names, with no empty list of calls and no refusal part."""
    content = message.content
    if message.reasoning is not None:
        return False
    if type(content) is not str and not (content or message.refusal or message.tool_calls):
        return False
    return message.tool_calls != () and not (isinstance(content, tuple) and any(map(_is_refusal, content)))


def _is_refusal(part: object) -> bool:
    return isinstance(part, RefusalPart)


def _in_form(message: AssistantMessage) -> contract.Message:
    content, refusal, calls = message.content, message.refusal, message.tool_calls or None
    if isinstance(content, tuple):
        refusals = [part.refusal for part in content if isinstance(part, RefusalPart)]
        content = tuple(part for part in content if not isinstance(part, RefusalPart)) or None
        refusal = "".join([refusal or "", *refusals]) or None
    if content is None and not refusal and not calls:
        content = ""
    reasoning = message.reasoning_content or message.reasoning
    return msgspec.structs.replace(
        message, content=content, refusal=refusal, tool_calls=calls, reasoning_content=reasoning, reasoning=None
    )
