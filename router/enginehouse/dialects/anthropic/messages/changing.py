"""Lines that change with every request, where a client puts them at the head of the system prompt.

Everything behind such a line would be computed anew each time. Claude Code sends one for its vendor's billing, as the
first block of the system prompt.
"""

from __future__ import annotations

from typing import Literal

from enginehouse.dialects.anthropic.messages.blocks import TextBlock
from enginehouse_plugin import request as contract

Policy = Literal["move", "drop", "keep"]
_BEGINS = "x-anthropic-billing-header:"


def without_changing(
    system: str | tuple[TextBlock, ...], policy: Policy
) -> tuple[str | tuple[TextBlock, ...], str | None]:
    """Return *system* without a line at its head that changes, and that line (None: there is none)."""
    first = system if isinstance(system, str) else system[0].text if system else ""
    if policy == "keep" or not first.startswith(_BEGINS):
        return system, None
    line, _, rest = first.partition("\n")
    if isinstance(system, str):
        return rest.lstrip("\n"), line
    return ((TextBlock(rest), *system[1:]) if rest.strip() else system[1:]), line


def behind(messages: list[contract.Message], line: str) -> None:
    """Put *line* behind all that is stable: at the end of the last message."""
    last = messages[-1]
    if isinstance(last, contract.UserMessage):
        messages[-1] = contract.UserMessage(content=_with(last.content, line))
    elif isinstance(last, contract.ToolMessage):
        messages[-1] = contract.ToolMessage(content=_with(last.content, line), tool_call_id=last.tool_call_id)
    else:
        messages.append(contract.UserMessage(content=line))


def _with(content: contract.Content, line: str) -> contract.Content:
    if isinstance(content, str):
        return f"{content}\n\n{line}"
    return (*content, contract.TextPart(line))
