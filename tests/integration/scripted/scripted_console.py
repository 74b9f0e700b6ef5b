"""A plugin: a backend that loads in stages, takes memory, and answers what the console must be able to show."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import msgspec

from enginehouse_plugin import (
    AnyEvent,
    Backend,
    BackendType,
    Capabilities,
    Chat,
    Device,
    EngineLoad,
    ExitReport,
    Finished,
    Fit,
    GenerationRequest,
    Instance,
    LoadProgress,
    OnProgress,
    Placement,
    ProbeReport,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    ToolMessage,
    TopLogprob,
    UsageReport,
    UserMessage,
    hookimpl,
)
from enginehouse_plugin.errors import EngineFailure

enginehouse_api = "2.0"
STREAM_S = 0.02
HOSTILE = """<script>window.fell = 1</script><img src=x onerror="window.fell = 2">

**bold** <b onclick=fall()>inline</b> [a link](javascript:window.fell=3) ![seen](http://elsewhere.invalid/pixel.png)

<iframe srcdoc='<script>parent.fell = 4</script>'></iframe>
"""
CONTROLS = "red \x1b[31m and back\x08space, null \x00, turned \u202egnippots\u202c, bell \x07."
MARKDOWN = """# Title

A *word*, `code`, and

```python
print('<b>not bold</b>')
```

- one
- two

| a | b |
|---|---|
| 1 | 2 |
"""
LONGEST = 1_000_000
CODE = """```python
def greet(name: str) -> str:  # <b>says</b>
    return f"hello {name}" + '<img src=x onerror=fell()>' * 42
```

```json
{"known": true, "sum": 1.5}
```

```brainfog
def unknown
```
"""
HOSTILE_CODE = "".join(
    f"```{name}\n{text}```\n\n" for name, text in (("csharp", ("a." * 240 + "\n") * 12), ("css", "(\n" * 2900))
)
LONG_CODE = "```python\n" + "def f(): return 1\n" * 2_000 + "```\n"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`mib` is what it takes, `load_s` how long it loads; `features` beside streaming."""

    mib: int = 16
    load_s: float = 0.0
    features: tuple[str, ...] = ("tools", "json_schema", "logprobs", "seed", "stop", "reasoning")


class ScriptedInstance(Instance):
    def __init__(self, options: Options) -> None:
        self.capabilities = Capabilities(
            context_tokens=1 << 22,
            max_concurrent_requests=4,
            features=frozenset({"streaming", *options.features}),
            limits={"top_logprobs": 5},
        )
        self._closed = asyncio.Event()
        self._running = 0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        self.refuse_unsupported(request)
        messages = request.prompt.messages if isinstance(request.prompt, Chat) else ()
        last = messages[-1] if messages else None
        self._running += 1
        try:
            async with aclosing(self._answer(request, last)) as events:
                async for event in events:
                    yield event
        finally:
            self._running -= 1

    async def _answer(self, request: GenerationRequest, last: object) -> AsyncGenerator[AnyEvent, None]:
        yield Started(10, 4)
        tokens, reason = 0, "stop"
        if isinstance(last, ToolMessage):
            yield TextDelta(0, f"The tool says: {last.content}", 5)
        else:
            said = str(last.content) if isinstance(last, UserMessage) else ""
            if said == "fail":
                raise EngineFailure("the engine <b>broke</b>")
            if said == "think":
                yield ReasoningDelta(0, "Let me think. ", 1)
            if said == "tool" and request.tools:
                reason = "tool_calls"
                yield _call(request.tools[0])
            else:
                for text in _said(said):
                    tokens += 1
                    yield TextDelta(0, text, tokens, _scored(text, request) if request.logprobs else None)
                    await asyncio.sleep(STREAM_S)
        yield Finished(0, reason)  # type: ignore[arg-type]  # one of the reasons
        yield UsageReport(10, tokens, 4)

    async def measure(self) -> EngineLoad:
        return EngineLoad(running=self._running, waiting=0, cache_used=self._running / 4)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 10

    async def check_ready(self) -> None:
        return

    async def unload(self) -> None:
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


def _said(asked: str) -> Iterator[str]:
    if asked == "endless":
        number = 0
        while True:
            number += 1
            yield f"word{number} "
    answers = {
        "hostile": HOSTILE,
        "controls": CONTROLS,
        "markdown": MARKDOWN,
        "json": '{"name": "Ada", "age": 36}',
        "bad json": '{"name": "Ada", "age": -1}',
        "code": CODE,
        "hostile code": HOSTILE_CODE,
        "long code": LONG_CODE,
        "long": "x" * LONGEST,
        "emphasis": ("*a **b " * 700 + "\n") * 12,
        "deep": ">" * 800 + " at the bottom",
    }
    text = answers.get(asked, f"You said: {asked}. And that is all.")
    step = max(8, len(text) // 40)
    for at in range(0, len(text), step):
        yield text[at : at + step]


def _call(tool: Tool) -> ToolCallDelta:
    return ToolCallDelta(0, 0, 3, "call_1", tool.name, '{"city": "Paris"}')


def _scored(text: str, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
    likely = math.log(0.9 if len(text) % 2 else 0.2)
    others = ((text, likely), (" other", -3.0), (" third", -4.0))[: request.top_logprobs]
    top = tuple(TopLogprob(word, at, word.encode(), score) for at, (word, score) in enumerate(others))
    return (TokenLogprob(text, 0, text.encode(), likely, top),)


class ScriptedBackend(Backend):
    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="scripted")

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        options = placement.options
        assert isinstance(options, Options)
        return Fit(footprint_bytes={device.id: options.mib << 20 for device in devices})

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        options = placement.options
        assert isinstance(options, Options)
        for step in range(10):
            progress(LoadProgress(stage="reading weights", fraction=step / 10))
            await asyncio.sleep(options.load_s / 10)
        return ScriptedInstance(options)


@hookimpl
def enginehouse_backends() -> list[BackendType]:
    return [
        BackendType(
            name="scripted", version="0", create=ScriptedBackend, options=Options, kinds=("cpu",), needs_weights=False
        )
    ]
