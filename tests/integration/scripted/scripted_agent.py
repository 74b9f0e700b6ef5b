"""A plugin: a backend that calls an agent's own tools, one step after each result, as a model would that can."""

from __future__ import annotations

import asyncio
import json
import re
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
    Message,
    OnProgress,
    Placement,
    ProbeReport,
    ReasoningDelta,
    Started,
    TextDelta,
    TextPart,
    Tool,
    ToolCallDelta,
    ToolMessage,
    UsageReport,
    UserMessage,
    hookimpl,
)

enginehouse_api = "2.0"
COMMANDS = ("printf 'one\\n' > {}", "cat {}", "sed -i s/one/two/ {}")
"""The task as commands: create, read, edit."""
_SHELLS = ("exec_command", "shell_command", "shell", "container.exec", "local_shell")
_TOOLS = (
    ("Write", "write", "write_file", "editor"),
    ("Read", "read", "read_file", "read_files"),
    ("Edit", "edit", "editor"),
)
"""What agents call the tools of the three steps."""
_TASK = re.compile(r"Create (\S+), read it, edit it\.")
_WRITTEN = re.compile(r"Write (\w+) into (\S+)\.")
"""The task of an agent without tools."""


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
        messages = request.prompt.messages if isinstance(request.prompt, Chat) else ()
        yield Started(100)
        yield ReasoningDelta(0, f"Step {len(_results(messages))}.", 1)
        call = _next_call(request, messages)
        if call is None:
            yield TextDelta(0, _said(messages), 2)
            yield Finished(0, "stop")
        else:
            name, arguments = call
            yield ToolCallDelta(0, 0, 2, f"call_{len(_results(messages))}", name)
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


def _next_call(request: GenerationRequest, messages: tuple[Message, ...]) -> tuple[str, str] | None:
    """The task's next step, or a call of the only tool there is; None: there is nothing left to call."""
    done = len(_results(messages))
    if request.tool_choice == "none" or not request.tools:
        return None
    task = _TASK.search(" ".join(_text(m.content) for m in messages if isinstance(m, UserMessage)))
    if task is None:
        tool = request.tools[0]
        return None if done or len(request.tools) > 1 else (tool.name, _arguments(tool, {}))
    if done == len(COMMANDS):
        return None
    by_name = {tool.name: tool for tool in request.tools}
    for name in (*_TOOLS[done], *_SHELLS):
        if name in by_name:
            return name, _arguments(by_name[name], _values(done, task[1]))
    return None


def _values(step: int, path: str) -> dict[str, Any]:  # the arguments' values, of any JSON type
    """Values of the *step* by the names that agents give to the parameters."""
    paths: dict[str, Any] = dict.fromkeys(("file_path", "filePath", "filepath", "path", "absolute_path"), path)
    command = dict.fromkeys(("cmd", "command"), COMMANDS[step].format(path))
    texts = {"content": "one\n", "new_text": "one\n"}
    if step == 2:
        texts = dict.fromkeys(("old_string", "oldString", "old_text"), "one")
        texts |= dict.fromkeys(("new_string", "newString", "new_text"), "two")
    return paths | command | texts | {"files": [{"path": path}]}


def _arguments(tool: Tool, values: dict[str, Any]) -> str:
    """Arguments for each required parameter, and for those that *values* has."""
    schema = tool.parameters or {}
    made: dict[str, Any] = {}
    for name, of in schema.get("properties", {}).items():
        if name in values:
            wants_words = of.get("type") == "array" and isinstance(values[name], str)
            made[name] = ["bash", "-lc", values[name]] if wants_words else values[name]
        elif name in schema.get("required", ()):
            made[name] = {"boolean": False, "integer": 1, "number": 1}.get(of.get("type"), "Paris")
    return json.dumps(made)


def _results(messages: tuple[Message, ...]) -> list[str]:
    return [_text(message.content) for message in messages if isinstance(message, ToolMessage)]


def _said(messages: tuple[Message, ...]) -> str:
    asked = [written for m in messages if isinstance(m, UserMessage) for written in _WRITTEN.findall(_text(m.content))]
    if asked:
        return "{1}\n```\n{0}\n```\n".format(*asked[-1])
    results = _results(messages)
    thought = any(isinstance(m, AssistantMessage) and m.reasoning_content for m in messages)
    last = f" The last says: {results[-1]}" if results else ""
    return f"All {len(results)} steps are done; reasoning came back: {thought}.{last}"


def _text(content: str | tuple[object, ...]) -> str:
    return (
        content if isinstance(content, str) else " ".join(part.text for part in content if isinstance(part, TextPart))
    )


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
