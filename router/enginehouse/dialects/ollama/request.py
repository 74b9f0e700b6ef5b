"""The structs of Ollama's requests: names, types and ranges.

The decoder enforces what stands here. Options that only say how a model is loaded are recorded; those that would change
an answer and that no engine here has are named as left out. `null` means the same as leaving a field out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from enginehouse.wire.places import EXPECTED

Json = dict[str, Any]  # any JSON object; `decode` bounds its depth
INT32_MAX = 2**31 - 1


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a request: no unknown fields; what is absent stays absent when it is encoded again."""


# ---- options ----


class Options(Strict, frozen=True, kw_only=True):
    """How the answer is made, by the names of a Modelfile."""

    temperature: Annotated[float, Meta(ge=0, le=2, description="0 is greedy.")] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=INT32_MAX, description="0 and -1 are off.")] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=2, description="1 is off.")] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, description="-1 is none.")] | None = None
    num_predict: (
        Annotated[int, Meta(ge=-2, le=INT32_MAX, description="Most tokens; -1 and -2: as many as fit.")] | None
    ) = None
    stop: str | tuple[Annotated[str, Meta(min_length=1)], ...] | None = None
    repeat_last_n: (
        Annotated[
            int,
            Meta(
                ge=-1,
                description="0 turns 'repeat_penalty' off; else it counts over all, and others than -1 are left out.",
            ),
        ]
        | None
    ) = None

    # Left out, unless they ask for nothing.
    typical_p: Annotated[float, Meta(description="Left out, unless 1.")] | None = None
    tfs_z: Annotated[float, Meta(description="Left out, unless 1.")] | None = None
    mirostat: Annotated[int, Meta(description="Left out, unless 0.")] | None = None
    mirostat_tau: Annotated[float, Meta(description="Recorded: it belongs to 'mirostat'.")] | None = None
    mirostat_eta: Annotated[float, Meta(description="Recorded: it belongs to 'mirostat'.")] | None = None
    penalize_newline: Annotated[bool, Meta(description="Left out, unless true.")] | None = None

    # Recorded: a model is loaded as its configuration says.
    num_ctx: Annotated[int, Meta(description="Recorded: the context is as the configuration has it.")] | None = None
    num_keep: Annotated[int, Meta(description="Recorded: nothing is cut out of a context.")] | None = None
    num_batch: Annotated[int, Meta(description="Recorded.")] | None = None
    num_gpu: Annotated[int, Meta(description="Recorded.")] | None = None
    main_gpu: Annotated[int, Meta(description="Recorded.")] | None = None
    num_thread: Annotated[int, Meta(description="Recorded.")] | None = None
    numa: Annotated[bool, Meta(description="Recorded.")] | None = None
    low_vram: Annotated[bool, Meta(description="Recorded.")] | None = None
    f16_kv: Annotated[bool, Meta(description="Recorded.")] | None = None
    logits_all: Annotated[bool, Meta(description="Recorded.")] | None = None
    vocab_only: Annotated[bool, Meta(description="Recorded.")] | None = None
    use_mmap: Annotated[bool, Meta(description="Recorded.")] | None = None
    use_mlock: Annotated[bool, Meta(description="Recorded.")] | None = None


RECORDED_OPTIONS = (
    "num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "numa", "low_vram", "f16_kv", "logits_all",
    "vocab_only", "use_mmap", "use_mlock",
)  # fmt: skip
"""Options of loading, and of the room in the context."""

# ---- tools ----


class FunctionDefinition(Strict, frozen=True):
    """A function that the model may call."""

    name: Annotated[
        str,
        Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$(?!\n)", extra={EXPECTED: "1 to 64 characters of a-z, A-Z, 0-9, '_.-'"}),
    ]
    description: str | None = None
    parameters: Annotated[Json, Meta(description="A JSON Schema, enforced as far as possible.")] | None = None


class Tool(Strict, frozen=True):
    """A tool; all are functions."""

    function: FunctionDefinition
    type: Literal["function"] = "function"


class CalledFunction(Strict, frozen=True):
    """The function that was called; `index` and `description` are read, and not handed on."""

    name: str
    arguments: Json = {}
    index: int | None = None
    description: str | None = None


class ToolCall(Strict, frozen=True):
    """A call that the assistant made earlier."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] = "function"


# ---- messages ----

Image = Annotated[str, Meta(min_length=4, description="Base64.")]


class SystemMessage(Strict, frozen=True, tag_field="role", tag="system"):
    """Instructions."""

    content: str = ""
    images: Annotated[tuple[Image, ...], Meta(max_length=0)] | None = None


class UserMessage(Strict, frozen=True, tag_field="role", tag="user"):
    """What the user said; images need a model that has them."""

    content: str = ""
    images: tuple[Image, ...] | None = None


class AssistantMessage(Strict, frozen=True, tag_field="role", tag="assistant"):
    """What the assistant thought, said or called before."""

    content: str = ""
    thinking: str | None = None
    images: Annotated[tuple[Image, ...], Meta(max_length=0)] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class ToolMessage(Strict, frozen=True, tag_field="role", tag="tool"):
    """A tool's result: of the call with this id, else of the first of this name that has none yet."""

    content: str = ""
    tool_name: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage

# ---- requests ----

Format = Literal["", "json"] | Json
Think = bool | Literal["low", "medium", "high", "max"]
KeepAlive = str | float | int
Model = Annotated[str, Meta(min_length=1, description="ID of a model in /api/tags; ':latest' may follow.")]


class OllamaRequest(Strict, frozen=True, kw_only=True):
    """What requests of both routes have in common."""

    model: Model
    format: Annotated[Format, Meta(description="'json', or a JSON Schema; always enforced.")] | None = None
    options: Options | None = None
    stream: Annotated[bool, Meta(description="True unless given.")] | None = None
    think: Annotated[Think, Meta(description="Whether the model reasons, or how much.")] | None = None
    keep_alive: Annotated[KeepAlive, Meta(description="Recorded: a model stays as its configuration says.")] | None = (
        None
    )
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20, description="Needs 'logprobs'.")] | None = None


class ChatRequest(OllamaRequest, frozen=True, kw_only=True):
    """A request to `POST /api/chat`."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1)]
    tools: tuple[Tool, ...] | None = None


class GenerateRequest(OllamaRequest, frozen=True, kw_only=True):
    """A request to `POST /api/generate`."""

    prompt: Annotated[str, Meta(min_length=1)]
    system: str | None = None
    raw: Annotated[bool, Meta(description="The prompt goes to the model as it is, without a template.")] | None = None
    images: tuple[Image, ...] | None = None
    suffix: (
        Annotated[str, Meta(description="The answer is filled in before this text; the prompt is raw then.")] | None
    ) = None
    template: Annotated[str, Meta(description="Left out, unless empty: the model has its own.")] | None = None
    context: Annotated[tuple[int, ...], Meta(description="Left out, unless empty: use /api/chat.")] | None = None
