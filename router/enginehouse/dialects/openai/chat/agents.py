"""Agents: what the configuration adds to a request that names one instead of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from enginehouse.config import AgentConfig
from enginehouse.dialects.openai.chat.request import ChatRequest, FunctionTool
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest


def instructed(
    request: contract.GenerationRequest, said: Collection[str], agent: AgentConfig
) -> tuple[contract.GenerationRequest, Collection[str]]:
    """Return *request* with the instructions and defaults of *agent*, and the fields that are said now."""
    own = msgspec.structs.asdict(agent.defaults)
    values = {name: value for name, value in own.items() if value is not None and name not in said}
    if agent.instructions and isinstance(request.prompt, contract.Chat):
        values["prompt"] = contract.Chat(_led(request.prompt.messages, agent.instructions))
    return msgspec.structs.replace(request, **values), {*said, *values}


def _led(messages: tuple[contract.Message, ...], instructions: str) -> tuple[contract.Message, ...]:
    """*messages* behind *instructions*; many templates take one system message alone, so a client's own joins them."""
    first, *rest = messages
    if isinstance(first, contract.SystemMessage) and isinstance(first.content, str):
        return (msgspec.structs.replace(first, content=f"{instructions}\n\n{first.content}"), *rest)
    return (contract.SystemMessage(content=instructions), *messages)


def check_tools(chat: ChatRequest, agent: AgentConfig) -> None:
    """Refuse a tool of *chat* that *agent* may not be given.

    Raises:
        InvalidRequest: naming the first.
    """
    if agent.tools is not None:
        functions = ((at, tool) for at, tool in enumerate(chat.tools or ()) if isinstance(tool, FunctionTool))
        names = {f"tools[{at}].function.name": tool.function.name for at, tool in functions}
        check_tool_names(chat.model, names, agent.tools)


def check_tool_names(agent: str, names: Mapping[str, str], allowed: Collection[str]) -> None:
    """Refuse a tool that *agent* may not be given; *names* are those of a request's tools, by their places.

    Raises:
        InvalidRequest: naming the first.
    """
    for place, name in names.items():
        if name not in allowed:
            listed = ", ".join(f"'{each}'" for each in allowed) or "none"
            raise InvalidRequest(
                f"Invalid '{place}': the agent '{agent}' is not given '{name}'. Allowed: {listed}.", param=place
            )
