"""Requests whose prompts have each another form, for rules about where else a prompt counts."""

from __future__ import annotations

from typing import Any

from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import PAD, nonce_tool, saying
from enginehouse_conformance.targets import Body

_TEXT = "The lighthouse keeper counts the ships that pass at night."


def forms_of_prompts(ctx: Context) -> dict[str, Body]:
    """Greedy requests for one token by what their prompts hold."""
    user = {"role": "user", "content": _TEXT}
    answered = {"role": "assistant", "content": _TEXT}
    padded = f"{PAD}{_TEXT}{PAD}"
    parts = {"role": "user", "content": [{"type": "text", "text": _TEXT}] * 2}
    messages: dict[str, list[dict[str, Any]]] = {
        "a system message": [{"role": "system", "content": _TEXT}, user],
        "a history": [user, answered, user],
        "text parts": [parts],
        "blanks around its texts": [{"role": "system", "content": padded}, {"role": "user", "content": padded}],
    }
    if ctx.has("developer_role") and ctx.speaks("role.developer"):
        messages["a developer message"] = [{"role": "developer", "content": _TEXT}, user]
    has_tools = ctx.has("tools") and ctx.speaks("tools")
    if has_tools and ctx.speaks("role.tool"):
        function = {"name": "look", "arguments": '{"where": "at sea"}'}
        call = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        }
        messages["a call and its result"] = [user, call, {"role": "tool", "tool_call_id": "c1", "content": _TEXT}]
    fields: dict[str, Body] = {what: {"messages": talk} for what, talk in messages.items()}
    if has_tools:
        fields["tools"] = {"messages": [user], "tools": [nonce_tool(ctx)[2]]}
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        fields["a schema"] = {"messages": [user], "response_format": saying(ctx.nonce())}
    return {what: ctx.body(**{"temperature": 0, "max_tokens": 1, **given}) for what, given in fields.items()}
