"""Requests that need a feature, to see how a target that declares it absent refuses.

A feature that is declared absent is `unsupported` only if the target refuses with 400 naming the field.
Accepted and ignored is a failure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .answer import Answer, Refusal
from .context import Context
from .primitives.forced import json_schema, named, object_of, tool
from .targets import Refused


class Probe(msgspec.Struct, frozen=True):
    """Fields that need a feature, and the names of which the refusal must give one."""

    fields: dict[str, Any]
    names: tuple[str, ...]


_TOOL = tool("probe_tool", object_of(v={"type": "string"}))
_SCHEMA = json_schema(object_of(v={"type": "string", "const": "x"}))

PROBES: dict[str, Probe] = {
    "streaming": Probe({"stream": True}, ("stream",)),
    "n": Probe({"n": 2}, ("n",)),
    "stop": Probe({"stop": ["qqzqq"]}, ("stop",)),
    "seed": Probe({"seed": 1}, ("seed",)),
    "frequency_penalty": Probe({"frequency_penalty": 1.0}, ("frequency_penalty",)),
    "presence_penalty": Probe({"presence_penalty": 1.0}, ("presence_penalty",)),
    "logit_bias": Probe({"logit_bias": {"1": 1}}, ("logit_bias",)),
    "logprobs": Probe({"logprobs": True}, ("logprobs",)),
    "json_object": Probe({"response_format": {"type": "json_object"}}, ("response_format",)),
    "json_schema": Probe({"response_format": _SCHEMA}, ("response_format",)),
    "tools": Probe({"tools": [_TOOL]}, ("tools",)),
    "tool_choice_required": Probe({"tools": [_TOOL], "tool_choice": "required"}, ("tool_choice", "tools")),
    "tool_choice_named": Probe({"tools": [_TOOL], "tool_choice": named("probe_tool")}, ("tool_choice", "tools")),
    "parallel_tool_calls": Probe({"tools": [_TOOL], "parallel_tool_calls": False}, ("parallel_tool_calls", "tools")),
    "developer_role": Probe(
        {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
        ("messages", "role", "developer"),
    ),
    "reasoning_effort": Probe({"reasoning_effort": "low"}, ("reasoning_effort",)),
}


async def probe_absent(ctx: Context, feature: str) -> str | None:
    """None if the target refuses what needs *feature* rightly; else what is wrong. Asked once per run.

    Raises:
        NotInScope: nothing in a request asks for the feature, so that nothing can be refused.
    """
    probe = PROBES.get(feature)
    if probe is None:
        ctx.not_in_scope(f"the target declares no {feature}, and nothing in a request asks for it")
    wrong: str | None = await ctx.shared.once(("absent", feature), lambda: _ask(ctx, probe))
    return wrong


async def _ask(ctx: Context, probe: Probe) -> str | None:
    body = ctx.body(**probe.fields)
    outcome: Answer | Refusal
    if probe.fields.get("stream"):
        try:
            outcome = await ctx.stream(body)
        except Refused as exc:
            outcome = exc.refusal
    else:
        outcome = await ctx.attempt(body)
    if isinstance(outcome, Answer):
        return "the request was answered as if the field were not there"
    if outcome.status not in (400, None):
        return f"it was refused with {outcome.status}, not 400"
    return None if outcome.names(*probe.names) else f"the refusal does not name the field: {outcome}"
