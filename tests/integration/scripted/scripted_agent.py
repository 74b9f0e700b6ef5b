"""A plugin: a backend that calls an agent's own tools, one step after each result, as a model would that can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from enginehouse_plugin import (
    AnyEvent,
    AssistantMessage,
    Backend,
    BackendType,
    Capabilities,
    Chat,
    Device,
    ExitReport,
    Finished,
    GenerationRequest,
    Instance,
    OnProgress,
    Placement,
    ProbeReport,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolMessage,
    UsageReport,
    hookimpl,
)

enginehouse_api = "2.0"
STEPS = (
    "printf 'one\\n' > made.txt",
    "cat made.txt",
    "sed -i s/one/two/ made.txt && cat made.txt",
)
"""Commands of the task: create, read, edit."""
_SHELLS = ("exec_command", "shell_command", "shell", "container.exec", "local_shell", "Bash")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


class ScriptedInstance(Instance):
    def __init__(self) -> None:
        self.capabilities = Capabilities(
            context_tokens=1 << 20,
            max_concurrent_requests=8,
            features=frozenset({"streaming", "tools", "parallel_tool_calls", "reasoning", "developer_role"}),
        )
        self._closed = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        self.refuse_unsupported(request)
        assert isinstance(request.prompt, Chat)
        messages = request.prompt.messages
        done = sum(isinstance(message, ToolMessage) for message in messages)
        tool = next((tool for tool in request.tools if tool.name in _SHELLS), None)
        yield Started(100)
        yield ReasoningDelta(0, f"Step {done}.", 1)
        if tool is None or done >= len(STEPS):
            thought = any(isinstance(m, AssistantMessage) and m.reasoning_content for m in messages)
            yield TextDelta(0, f"All {done} steps are done; reasoning came back: {thought}.", 2)
            yield Finished(0, "stop")
        else:
            arguments = json.dumps(_arguments(tool.name, tool.parameters or {}, STEPS[done]))
            yield ToolCallDelta(0, 0, 2, f"call_{done}", tool.name)
            for at in range(0, len(arguments), 7):
                yield ToolCallDelta(0, 0, 3, arguments_fragment=arguments[at : at + 7])
            yield Finished(0, "tool_calls")
        yield UsageReport(100, 3, 0, 1)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 100

    async def check_ready(self) -> None:
        return

    async def unload(self) -> None:
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


def _arguments(name: str, schema: dict[str, Any], command: str) -> dict[str, Any]:  # any JSON Schema
    field = "cmd" if "cmd" in schema.get("properties", {}) else "command"
    wants_list = schema.get("properties", {}).get(field, {}).get("type") == "array"
    return {field: ["bash", "-lc", command] if wants_list else command}


class ScriptedBackend(Backend):
    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="scripted")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        return ScriptedInstance()


@hookimpl
def enginehouse_backends() -> list[BackendType]:
    return [
        BackendType(
            name="scripted", version="0", create=ScriptedBackend, options=Options, kinds=(), needs_weights=False
        )
    ]
