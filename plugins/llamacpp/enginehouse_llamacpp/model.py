"""What was loaded: the facts that requests are checked and written by."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from enginehouse_plugin import Capabilities

from .gguf import Gguf
from .messages import TemplateFacts
from .options import LlamaCppOptions
from .server import Server

_ALWAYS = (
    "streaming",
    "n",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_k",
    "min_p",
    "json_object",
    "json_schema",
    "tools",
    "tool_choice_required",
    "tool_choice_named",
    "parallel_tool_calls",
    "developer_role",
)
"""Features that llama.cpp's samplers and grammars give to every model that has a chat template."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model."""

    capabilities: Capabilities
    template: TemplateFacts
    control_tokens: Mapping[str, int]
    vocabulary_size: int
    prefix_cache: bool

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and completion together."""
        return self.capabilities.context_tokens


async def describe(server: Server, header: Gguf, context_tokens: int, options: LlamaCppOptions) -> Model:
    """Ask *server* what it has loaded, and derive what it can do."""
    props = await server.props()
    features: set[str] = set(_ALWAYS)
    if options.prefix_cache:
        features.add("prefix_cache")
    caps = props.chat_template_caps
    slots = props.total_slots
    return Model(
        capabilities=Capabilities(
            context_tokens=min(context_tokens, props.default_generation_settings.n_ctx),
            max_concurrent_requests=slots,
            features=frozenset(features),
            limits={"n": slots, "top_logprobs": 20},
            vocabulary_size=header.vocabulary_size,
        ),
        template=TemplateFacts(
            tools=caps.supports_tools,
            tool_calls=caps.supports_tool_calls,
            reasoning="reasoning_content" in props.chat_template,
        ),
        control_tokens=header.control_tokens,
        vocabulary_size=header.vocabulary_size,
        prefix_cache=options.prefix_cache,
    )
