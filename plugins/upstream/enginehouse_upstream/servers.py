"""Kinds of servers: what each honours, what it must be told so that its own defaults do not apply, what it renames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_SAMPLING = frozenset({"streaming", "stop", "seed"})


class ServerKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of server.

    `features` are those that it is known to honour as the contract means them. `neutral` goes with every request that
    does not say otherwise, and `names` are fields that it calls otherwise.
    """

    name: str
    shown: str
    features: frozenset[str]
    neutral: Mapping[str, Any] = {}  # JSON
    names: Mapping[str, str] = {}
    health_path: str | None = None
    window: str | None = None
    """The field that says how many tokens penalties look back on: all of the context."""
    tells_logprobs: bool = False
    """It may be asked for log probabilities, whether or not they are declared."""
    needs_top: bool = False
    """Log probabilities come only where alternatives are asked for: one is, and left out."""
    takes_refusals: bool = True
    """A refusal of an earlier answer is read; else it is sent as what was said."""
    takes_raw: bool = False
    """Raw text and token ids are taken at `/completions`, with all fields as here."""
    seeds: int | None = None
    """How many seeds it has; others are mapped to their remainder."""


KINDS: Mapping[str, ServerKind] = {
    kind.name: kind
    for kind in (
        # Whoever speaks the wire honours these two, or is of no use.
        ServerKind(name="openai", shown="OpenAI-compatible server", features=frozenset({"streaming", "stop"})),
        # Its card says what it honours.
        ServerKind(name="enginehouse", shown="Enginehouse", features=frozenset({"streaming", "stop"}), takes_raw=True),
        ServerKind(
            name="vllm",
            shown="vLLM",
            features=_SAMPLING
            | {"n", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "logprobs"}
            | {"top_k", "min_p", "prefix_cache"},
            takes_refusals=False,
            tells_logprobs=True,
            # Its defaults are those of the weights' generation_config.json.
            neutral={"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
            health_path="/health",
        ),
        ServerKind(
            name="llamacpp",
            shown="llama-server",
            # Not `stop`: a stream loses what was held back for it when the limit ends the answer, and with it log
            # probabilities are of pieces of text, not of tokens.
            features=frozenset({"streaming", "seed", "logit_bias", "logprobs", "top_k", "min_p", "prefix_cache"}),
            # In this order, and none of its own (top_k 40, min_p 0.05, …).
            neutral={
                "samplers": ["penalties", "temperature", "min_p", "top_k", "top_p"],
                "top_k": 0,
                "min_p": 0.0,
                "repeat_penalty": 1.0,
                "frequency_penalty": 0.0,
                "presence_penalty": 0.0,
            },
            names={"repetition_penalty": "repeat_penalty"},
            window="repeat_last_n",
            tells_logprobs=True,
            needs_top=True,
            takes_refusals=False,
            health_path="/health",
            seeds=2**32 - 256,
        ),
        ServerKind(name="ollama", shown="Ollama", features=_SAMPLING, takes_refusals=False),
        ServerKind(name="lmstudio", shown="LM Studio", features=_SAMPLING, takes_refusals=False),
    )
}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of models says of one: the fields that kinds of servers have beside `id`."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None  # vLLM
    max_context_length: int | None = None  # LM Studio
    context_length: int | None = None  # Enginehouse, and several hosted APIs
    meta: dict[str, Any] | None = None  # llama-server: JSON of its own
    declared_features: tuple[str, ...] | None = None  # Enginehouse
    features: tuple[str, ...] | None = None
    limits: dict[str, int] | None = None
    task: str | None = None

    @property
    def vocabulary_size(self) -> int | None:
        """Tokens of the vocabulary, where it tells."""
        size = (self.meta or {}).get("n_vocab")
        return size if isinstance(size, int) and size > 0 else None

    @property
    def context_tokens(self) -> int | None:
        """Tokens of the context, where it tells."""
        own = (self.meta or {}).get("n_ctx")
        told = (self.context_length, self.max_model_len, self.max_context_length, own)
        return next((size for size in told if isinstance(size, int) and size > 0), None)


def kind_of(card: Card | None, server_header: str) -> ServerKind:
    """The kind of server that *card* and the header `server` show."""
    if card is not None:
        if card.declared_features is not None:
            return KINDS["enginehouse"]
        if card.owned_by == "vllm":
            return KINDS["vllm"]
        if card.owned_by == "llamacpp":
            return KINDS["llamacpp"]
        if card.owned_by == "library":
            return KINDS["ollama"]
        if card.owned_by == "organization_owner":
            return KINDS["lmstudio"]
    if "llama.cpp" in server_header.lower():
        return KINDS["llamacpp"]
    return KINDS["openai"]
