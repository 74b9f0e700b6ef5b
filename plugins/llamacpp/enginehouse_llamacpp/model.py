"""What was loaded: the facts that requests are checked and written by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import msgspec

from enginehouse_kit.text.chat_messages import CALL_OPENS, TemplateFacts
from enginehouse_kit.text.control_text import ControlFinder
from enginehouse_kit.text.features import features_of
from enginehouse_kit.text.filling import Filling
from enginehouse_kit.text.thinking import OPENS
from enginehouse_plugin import Capabilities

from .gguf import Gguf
from .options import LlamaCppOptions
from .server import Props, Server
from .translate import MAX_N, MAX_TOP_LOGPROBS

_VARIABLES = ("enable_thinking", "thinking", "thinking_budget", "custom_instructions", "date_string", "documents")
"""Variables beyond messages and tools that published templates read."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model. `silent_ids` are the tokens that neither print anything nor end an answer."""

    capabilities: Capabilities
    template: TemplateFacts
    control_tokens: Mapping[str, int]
    control_finder: ControlFinder
    control_ids: frozenset[int]
    silent_ids: tuple[int, ...]
    vocabulary_size: int
    longest_token_bytes: int | None
    filling: Filling | None
    prefix_cache: bool

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and completion together."""
        return self.capabilities.context_tokens


async def describe(server: Server, header: Gguf, context_tokens: int, options: LlamaCppOptions) -> Model:
    """Ask *server* what it has loaded, and derive what it can do."""
    props = await server.props()
    template = _facts(props)
    has_effort = props.chat_template_caps.supports_reasoning_effort
    slots = props.total_slots
    ending_ids = await server.ending_ids()
    return Model(
        capabilities=Capabilities(
            context_tokens=min(context_tokens, props.default_generation_settings.n_ctx),
            max_concurrent_requests=slots,
            # Its ends can be banned from an answer, and not from its beginning alone.
            features=features_of(
                template,
                has_effort=has_effort,
                prefix_cache=options.prefix_cache,
                fills_in=header.filling is not None,
            )
            - {"min_tokens"},
            limits={"n": MAX_N, "top_logprobs": MAX_TOP_LOGPROBS},
            vocabulary_size=header.vocabulary_size,
        ),
        template=template,
        control_tokens=header.control_tokens,
        control_finder=await asyncio.to_thread(ControlFinder, header.control_tokens),
        control_ids=frozenset(header.control_tokens.values()),
        silent_ids=tuple(sorted(header.textless_ids - ending_ids)) if ending_ids else (),
        vocabulary_size=header.vocabulary_size,
        longest_token_bytes=header.longest_token_bytes,
        filling=header.filling,
        prefix_cache=options.prefix_cache,
    )


def _facts(props: Props) -> TemplateFacts:
    """What the template has a place for. Its own form of tools is used where it is the adapter's form too."""
    text, caps = props.chat_template, props.chat_template_caps
    has_our_calls = CALL_OPENS in text and '"arguments"' in text and "<function=" not in text
    return TemplateFacts(
        tools=caps.supports_tools and has_our_calls,
        tool_calls=caps.supports_tool_calls and has_our_calls,
        reasoning="reasoning_content" in text,
        thinking=OPENS in text,
        variables=frozenset(name for name in _VARIABLES if re.search(rf"\b{name}\b", text)),
    )
