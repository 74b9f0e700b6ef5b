"""Mounts: the profiles that a configuration serves side by side, each with its routes, its models and its endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import msgspec

from enginehouse.config import Config, ConfigError, suggest
from enginehouse.dialects.anthropic.messages.endpoint import CountTokensEndpoint, MessagesEndpoint
from enginehouse.dialects.endpoint import Endpoint, Named, Names
from enginehouse.dialects.ollama.embed import EmbedEndpoint, OlderEmbedEndpoint
from enginehouse.dialects.ollama.endpoint import ollama_chat, ollama_generate
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.openai.completions.endpoint import CompletionsEndpoint
from enginehouse.dialects.openai.embeddings.endpoint import EmbeddingsEndpoint
from enginehouse.dialects.openai.rerank.endpoint import PlainRerankEndpoint, RerankEndpoint, SecondRerankEndpoint
from enginehouse.dialects.openai.responses.endpoint import ResponsesEndpoint
from enginehouse.dialects.openai.responses.kept import KeptResponses
from enginehouse.dialects.openai.tokens.endpoint import DetokenizeEndpoint, TokenizeEndpoint
from enginehouse.dialects.profiles import chosen, profile_of
from enginehouse.dialects.scopes import check_keys
from enginehouse_plugin import Profile

_Kind = Callable[..., Endpoint]
"""Makes an endpoint for a mount, of its profile and `Mounting`."""

ENDPOINTS: Mapping[str, _Kind] = {
    "chat": ChatEndpoint,
    "completions": CompletionsEndpoint,
    "embeddings": EmbeddingsEndpoint,
    "messages": MessagesEndpoint,
    "count_tokens": CountTokensEndpoint,
    "ollama_chat": ollama_chat,
    "ollama_generate": ollama_generate,
    "ollama_embed": EmbedEndpoint,
    "ollama_embeddings": OlderEmbedEndpoint,
    "rerank": RerankEndpoint,
    "rerank_plain": PlainRerankEndpoint,
    "rerank_second": SecondRerankEndpoint,
    "responses": partial(ResponsesEndpoint, kept=None),
    "tokenize": TokenizeEndpoint,
    "detokenize": DetokenizeEndpoint,
}
"""What a profile may name in its `endpoints`."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A profile in use. Its routes begin with `prefix`; `hosts` and `keys` lead to it, or where it has neither, all do.

    `label` tells mounts apart: that of the server's own profile is empty. `names` has what its clients may call a
    model; `endpoints` are its operations.
    """

    label: str
    profile: Profile
    prefix: str
    hosts: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    names: Mapping[str, Named]
    endpoints: tuple[Endpoint, ...]


def mounts(config: Config, profiles: Mapping[str, Profile], kept: KeptResponses | None = None) -> tuple[Mount, ...]:
    """Return what *config* mounts, built-in profiles and those of *profiles*: first the server's own, as it has it.

    *kept* keeps responses for endpoints that refer to them; None: they keep none.

    Raises:
        ConfigError: there is no such profile, a setting is none of its own, two mounts have the same routes, or a key
            is for what none of them serves.
    """
    kinds: dict[str, _Kind] = {**ENDPOINTS, "responses": partial(ResponsesEndpoint, kept=kept)}
    own = _mount(config, chosen(config, profiles), "", kinds=kinds, where="server")
    found = [own]
    taken = {own.prefix: "the server's own profile"}
    for at, mount in enumerate(config.mounts):
        settings = dict(mount.settings)
        if mount.strict_profile is not None:
            settings["strict_profile"] = mount.strict_profile
        where = f"mounts[{at}]"
        profile = profile_of(mount.profile, settings, profiles, where=where, file=config.file)
        path = (mount.path or "").rstrip("/")
        label = f"{profile.name} at {mount.path or ', '.join(mount.hosts or mount.keys)}"
        made = _mount(
            config,
            profile,
            label,
            kinds=kinds,
            where=where,
            path=path,
            hosts=mount.hosts,
            keys=mount.keys,
            models=mount.models,
        )
        if mount.path is not None and (other := taken.setdefault(made.prefix, where)) != where:
            raise ConfigError(
                f"its routes begin with '{made.prefix}', as those of {other} do.", file=config.file, where=where
            )
        found.append(made)
    check_keys(config, found)
    return tuple(found)


def _mount(
    config: Config,
    profile: Profile,
    label: str,
    *,
    kinds: Mapping[str, _Kind],
    where: str,
    path: str = "",
    hosts: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
    models: Mapping[str, str] | None = None,
) -> Mount:
    prefix = path + profile.base_path
    known: dict[str, Named] = {name: Named(name) for name in config.models}
    known |= {name: Named(agent.model, agent, name) for name, agent in config.agents.items()}
    names = Names({name: known[meant] for name, meant in models.items()} if models else known)
    unsupported_by: dict[str, Literal["refuse", "report"]] = {
        name: said for name, model in config.models.items() if (said := model.unsupported) is not None
    }
    for name in profile.endpoints:
        if name not in ENDPOINTS:
            raise ConfigError(
                f"the profile '{profile.name}' has an endpoint '{name}', which is not known.",
                file=config.file,
                where=f"{where}.profile",
                fix=suggest(name, ENDPOINTS),
            )
    endpoints = tuple(
        kinds[name](
            profile,
            label=label,
            prefix=prefix,
            names=names,
            unknown_fields=config.server.unknown_fields,
            unsupported=config.server.unsupported,
            unsupported_by=unsupported_by,
        )
        for name in profile.endpoints
    )
    return Mount(label=label, profile=profile, prefix=prefix, hosts=hosts, keys=keys, names=names, endpoints=endpoints)
