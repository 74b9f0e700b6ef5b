"""The backend: what is at a URL, and what may be asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from enginehouse_plugin import (
    FEATURES,
    TASKS,
    Backend,
    Capabilities,
    Device,
    EmbeddingRequest,
    LoadProgress,
    OnProgress,
    Placement,
    ProbeReport,
    Task,
    Text,
)
from enginehouse_plugin.errors import EngineError, LoadFailed

from .address import Address, read_address
from .client import make_client
from .dialect import UpstreamDialect
from .identity import Listing, card_of, listing, shown
from .instance import UpstreamInstance
from .options import UpstreamOptions
from .servers import KINDS, Card, ServerKind, kind_of
from .texts import UpstreamEmbedding, UpstreamRerank

if TYPE_CHECKING:
    from .client import Client

_KINDS: Mapping[Task, type[UpstreamInstance]] = {
    "chat": UpstreamInstance,
    "embed": UpstreamEmbedding,
    "rerank": UpstreamRerank,
}
_SHOWN_MODELS = 20
_NO_LIST = (404, 405, 501)


class _Found(msgspec.Struct, frozen=True):
    """A server that has been asked what it is."""

    address: Address
    client: Client
    listing: Listing
    card: Card | None
    kind: ServerKind
    model: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.kind.shown} at {self.address.origin}"


class UpstreamBackend(Backend):
    """Any server that speaks the OpenAI wire."""

    async def probe(self, python: str | None = None) -> ProbeReport:  # noqa: ARG002  # the contract's
        """There is nothing to install; which server it is, a placement says."""
        return ProbeReport(
            available=True, engine="OpenAI-compatible server", detail=f"httpx2 {importlib.metadata.version('httpx2')}"
        )

    async def load(
        self,
        placement: Placement,
        devices: tuple[Device, ...],  # noqa: ARG002  # none are needed
        progress: OnProgress,
    ) -> UpstreamInstance:
        """Ask the server what it is, and whether it has the model.

        Raises:
            LoadFailed: it does not answer, refuses the key, lacks the model, or its context is not known.
        """
        options = _options(placement)
        progress(LoadProgress(stage="asking the server", fraction=0.0))
        async with self._asked(placement, options) as found:
            capabilities = _capabilities(found, options, placement)
            dialect = UpstreamDialect(
                found.kind, found.address.prefix, options, capabilities.context_tokens, found.name
            )
            health = options.health_path or found.kind.health_path or f"{found.address.prefix}/models"
            if found.listing.status in _NO_LIST and options.health_path is None and found.kind.health_path is None:
                told = f"{found.name} has no list of models to see its health by; set the option health_path."
                raise LoadFailed(told, retryable=False)
            (task,) = capabilities.tasks
            made = _KINDS[task](found.client, dialect, found.model, capabilities, options, health, found.name)
            if isinstance(made, UpstreamEmbedding):
                async with asyncio.timeout(options.probe_timeout_s):
                    (probe,) = (await made.embed(EmbeddingRequest(id="", inputs=(Text("a"),)))).vectors
                own = (len(probe) // 4, *placement.dimensions)
                made.capabilities = msgspec.structs.replace(capabilities, dimensions=own)
            return made

    async def identity(self, placement: Placement) -> Mapping[str, str | float]:
        """See `Backend.identity`: its header, the model's card, the answer to a fixed greedy request.

        Raises:
            LoadFailed: it does not answer.
        """
        options = _options(placement)
        async with self._asked(placement, options) as found:
            path = f"{found.address.prefix}/chat/completions"
            try:
                async with asyncio.timeout(options.probe_timeout_s):
                    return await shown(found.client, path, found.listing, found.card, found.kind, found.model, options)
            finally:
                await found.client.close()

    @contextlib.asynccontextmanager
    async def _asked(self, placement: Placement, options: UpstreamOptions) -> AsyncIterator[_Found]:
        """The server of *placement*, asked for its models; its client is closed when the block fails."""
        try:
            address = read_address(placement.source)
        except ValueError as problem:
            raise LoadFailed(f"{problem}.", retryable=False) from problem
        client = make_client(address, options, _key(options))
        try:
            yield await _ask(client, address, placement, options)
        except BaseException as error:
            await client.close()
            if isinstance(error, EngineError):
                raise LoadFailed(f"{address.origin}: {error.message}") from error
            if isinstance(error, TimeoutError):
                told = f"{address.origin} did not answer within {options.probe_timeout_s:g} s (option probe_timeout_s)."
                raise LoadFailed(told) from error
            raise


def _options(placement: Placement) -> UpstreamOptions:
    options = placement.options
    return options if isinstance(options, UpstreamOptions) else UpstreamOptions()


async def _ask(client: Client, address: Address, placement: Placement, options: UpstreamOptions) -> _Found:
    model = options.model or placement.model
    async with asyncio.timeout(options.probe_timeout_s):
        found = await listing(client, address.prefix)
    card = card_of(found, model)
    kind = KINDS[options.server] if options.server != "auto" else kind_of(card, found.server)
    where = f"{kind.shown} at {address.origin}"
    if found.status in (401, 403):
        which = "refuses our key" if options.key_env or options.key_file else "wants a key"
        raise LoadFailed(f"{where} {which}: see the options key_env and key_file.", retryable=False)
    if found.status != 200 and found.status not in _NO_LIST:
        raise LoadFailed(f"{where} answered {address.prefix}/models with status {found.status}.")
    if card is None and found.cards:
        if kind.name == "llamacpp" and options.model is None:
            card = found.cards[0]  # it has one, and answers to any name
        else:
            names = ", ".join(f"'{card.id}'" for card in found.cards[:_SHOWN_MODELS])
            raise LoadFailed(f"{where} has no model '{model}'; set the option model to one of {names}.")
    if options.server == "auto":
        kind = kind_of(card, found.server)
    return _Found(address, client, found, card, kind, model)


def _task(found: _Found, placement: Placement) -> Task:
    """What the model is for: as its owner says, else as the server does, if it is one of ours."""
    if placement.task is not None:
        return placement.task
    told = found.card.task if found.card is not None and found.kind.name == "enginehouse" else None
    known: dict[str | None, Task] = {task: task for task in TASKS}
    return known.get(told, "chat")


def _capabilities(found: _Found, options: UpstreamOptions, placement: Placement) -> Capabilities:
    context_tokens, task = placement.context_tokens, _task(found, placement)
    told = found.card.context_tokens if found.card is not None else None
    if told is not None and context_tokens is not None and context_tokens > told:
        raise LoadFailed(
            f"{found.name} has a context of {told} tokens for '{found.model}', and context_tokens asks for "
            f"{context_tokens}: give {told} or less.",
            retryable=False,
        )
    size = context_tokens or told
    if size is None:
        raise LoadFailed(
            f"{found.name} does not tell the context of '{found.model}': set context_tokens of the model.",
            retryable=False,
        )
    return Capabilities(
        context_tokens=size,
        max_concurrent_requests=options.max_connections,
        tasks=frozenset({task}),
        features=_features(found, options) if task == "chat" else frozenset(),
        vocabulary_size=found.card.vocabulary_size if found.card is not None else None,
        limits=dict((found.card.limits or {}) if found.card is not None else {}),
    )


def _features(found: _Found, options: UpstreamOptions) -> frozenset[str]:
    if options.features == "all":
        return frozenset(FEATURES)
    if options.features != "careful":
        return frozenset(options.features)
    if found.kind.name == "enginehouse" and found.card is not None and found.card.features is not None:
        return frozenset(found.card.features) & frozenset(FEATURES)
    return found.kind.features


def _key(options: UpstreamOptions) -> str | None:
    """The key, from where the options say.

    Raises:
        LoadFailed: there is none.
    """
    if options.key_env is not None:
        key = os.environ.get(options.key_env, "").strip()
        where = f"the environment variable {options.key_env} (option key_env) is not set"
    elif options.key_file is not None:
        try:
            key = Path(options.key_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise LoadFailed(
                f"The key in '{options.key_file}' (option key_file) cannot be read: {problem}.", retryable=False
            ) from problem
        where = f"'{options.key_file}' (option key_file) is empty"
    else:
        return None
    if not key:
        raise LoadFailed(f"There is no key for the upstream: {where}.", retryable=False)
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise LoadFailed(f"The key is none: it holds what no header may ({options.key_env or options.key_file}).",
                         retryable=False)  # fmt: skip
    return key
