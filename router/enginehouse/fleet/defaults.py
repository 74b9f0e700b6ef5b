"""What a request gets where it is silent: each value, where it is from, and what an instance cannot honour of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import msgspec

from enginehouse import weights
from enginehouse.config import Defaults
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Backend, Capabilities, Chat, GenerationRequest, Instance, Placement, UserMessage, missing
from enginehouse_plugin.backend import unsupported
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest, RequestError, UnsupportedFeature

Origin = Literal["configuration", "profile", "weights", "api"]
"""Where a default is from, the first that has one: the model's configuration, the profile, the weights, the API."""

OWN_PROFILE: Final = ""
"""The label of the server's own profile."""

_CHECK_TIMEOUT_S = 5.0
_SILENT = GenerationRequest(id="defaults", prompt=Chat((UserMessage("Hi"),)))
_FIELDS = Defaults.__struct_fields__
_OF_THE_API: Mapping[str, Any] = {
    name: value for name in _FIELDS if (value := getattr(_SILENT, name)) is not None and value != ()
}

log = get_logger()


class Default(msgspec.Struct, frozen=True):
    """A value, and where it is from."""

    value: Any  # of any field
    origin: Origin


class Decided(msgspec.Struct, frozen=True):
    """What holds where a request is silent, by the field's name; `refused` says what would have, and why it cannot."""

    values: dict[str, Default]
    refused: dict[str, str] = {}

    @property
    def in_force(self) -> dict[str, Any]:
        """Values of fields that the API itself would leave otherwise."""
        return {name: default.value for name, default in self.values.items() if default.origin != "api"}


class InstanceDefaults:
    """The defaults of one instance, for requests by each profile: from its model's *own*, those of *profiles* by their
    labels, the weights' and the API's. `decided` are those of the server's own profile, and `by_profile` of all.

    What the instance cannot honour is found when it has loaded (`settle`) or its configuration changes (`follow`).
    """

    def __init__(self, own: Defaults, profiles: Mapping[str, Mapping[str, Any]]) -> None:
        self._own = own
        self._profiles = {OWN_PROFILE: {}, **profiles}
        self._recommended: Mapping[str, Any] = {}
        self._judge: _Judge | None = None
        self._judging: asyncio.Future[None] | None = None  # kept, so that the loop does not forget it
        self._decide()

    @property
    def decided(self) -> Decided:
        """Those of the server's own profile."""
        return self.by_profile[OWN_PROFILE]

    def fill(self, request: GenerationRequest, said: Collection[str], profile: str = OWN_PROFILE) -> GenerationRequest:
        """Return *request*, which came by *profile*, with the defaults of all fields but those in *said*."""
        in_force = self._in_force[profile]
        if not in_force:
            return request
        values = {name: value for name, value in in_force.items() if name not in said}
        if "chat_template_kwargs" in said and "chat_template_kwargs" in in_force:
            # The model's variables stand beside the request's; where both name one, the request's holds.
            own = in_force["chat_template_kwargs"]
            values["chat_template_kwargs"] = {**own, **(request.chat_template_kwargs or {})}
        return msgspec.structs.replace(request, **values)

    def max_tokens(self, profile: str) -> int | None:
        """The most tokens of a choice where a request by *profile* says nothing; None: no default says, either."""
        in_force = self._in_force.get(profile)
        found: int | None = (self._in_force[OWN_PROFILE] if in_force is None else in_force).get("max_tokens")
        return found

    def blames(self, error: Exception, said: Collection[str], profile: str = OWN_PROFILE) -> str | None:
        """Return the default that *error* is about, where the request by *profile* did not say that field."""
        if isinstance(error, InvalidRequest | UnsupportedFeature) and error.param in self._in_force[profile]:
            return None if error.param in said else error.param
        return None

    async def settle(
        self, instance: Instance, capabilities: Capabilities, backend: Backend, placement: Placement
    ) -> None:
        """Take in what the weights of *placement* recommend, and leave out what *instance* cannot honour."""
        self._recommended = await recommended(backend, placement)
        self._judge = _Judge(placement.model, instance, capabilities)
        self._decide()
        await self._settle()

    def follow(self, own: Defaults, profiles: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Take *own* for the model's from now on, and *profiles* (None: as before) for those of profiles."""
        self._own = own
        if profiles is not None:
            self._profiles = {OWN_PROFILE: {}, **profiles}
        self._decide()
        if self._judge is not None:
            self._judging = asyncio.ensure_future(self._settle())

    def _decide(self) -> None:
        self._put({label: decide(self._own, said, self._recommended) for label, said in self._profiles.items()})

    async def _settle(self) -> None:
        if self._judge is None:
            return
        decided = self.by_profile
        judged: list[tuple[Decided, Decided]] = []  # what is decided alike is judged, and told in the log, once
        for one in decided.values():
            if all(one != known for known, _ in judged):
                judged.append((one, await self._judge.judged(one)))
        if decided is self.by_profile:
            self._put({label: next(so for known, so in judged if known == one) for label, one in decided.items()})

    def _put(self, decided: dict[str, Decided]) -> None:
        self.by_profile = decided
        self._in_force = {label: one.in_force for label, one in decided.items()}


def decide(own: Defaults, profile: Mapping[str, Any], recommended: Mapping[str, Any]) -> Decided:
    """Choose for each field the first that says a value: *own*, *profile*, what is *recommended*, the API."""
    refused: dict[str, str] = {}
    usable: dict[str, Any] = {}
    for name, value in recommended.items():
        try:
            read = msgspec.convert({name: max(value, 0) if name == "top_k" else value}, Defaults)
            usable[name] = getattr(read, name)
        except (msgspec.ValidationError, TypeError) as error:
            problem = str(error).partition(" - ")[0] if name in _FIELDS else "the API has no such field"
            refused[name] = f"the weights recommend {value}: {problem}"
    values = {name: Default(value, "api") for name, value in _OF_THE_API.items()}
    layers: tuple[tuple[Origin, Mapping[str, Any]], ...] = (
        ("weights", usable),
        ("profile", profile),
        ("configuration", msgspec.structs.asdict(own)),
    )
    for origin, said in layers:
        values |= {name: Default(value, origin) for name, value in said.items() if value not in (None, {})}
    return Decided({name: values[name] for name in _FIELDS if name in values}, refused)


async def recommended(backend: Backend, placement: Placement) -> Mapping[str, Any]:
    """What the weights of *placement* recommend; what cannot be read is told in the log, and recommends nothing."""
    try:
        of_source = {} if placement.path is None else weights.recommended(placement.source)
        return {**await backend.recommended(placement), **of_source}
    except EnginehouseError as error:
        problem = error.message
    except Exception as error:  # noqa: BLE001  # a plugin's fault must not end the task that watches over an instance
        problem = f"the backend broke: {type(error).__name__}: {error}"
    log.warning("recommendation of the weights not read", model=placement.model, reason=problem)
    return {}


class _Judge:
    """Tells which defaults *instance*, of which requests may use *capabilities*, can honour."""

    def __init__(self, model: str, instance: Instance, capabilities: Capabilities) -> None:
        self._model = model
        self._instance = instance
        self._capabilities = capabilities

    async def judged(self, decided: Decided) -> Decided:
        """Return *decided* without what cannot be honoured, for which the API's own default holds."""
        wanted = decided.in_force
        kept: dict[str, Any] = {}
        refused = dict(decided.refused)
        asks_engine = bool(wanted) and await self._refusal({}) is None  # else its template takes no such conversation
        if wanted and await self._refusal(wanted, asks_engine=asks_engine) is None:
            kept = wanted
        else:
            for name, value in wanted.items():
                problem = await self._refusal({**kept, name: value}, asks_engine=asks_engine)
                if problem is None:
                    kept[name] = value
                elif not isinstance(problem, UnsupportedFeature) or problem.turns_off is None:
                    refused[name] = f"{value!r} of the {decided.values[name].origin}: {problem.message}"
        for name, reason in refused.items():
            log.warning("default not honoured", model=self._model, field=name, reason=reason)
        values = {
            name: default if default.origin == "api" or name in kept else Default(_OF_THE_API[name], "api")
            for name, default in decided.values.items()
            if default.origin == "api" or name in kept or name in _OF_THE_API
        }
        return Decided(values, refused)

    async def _refusal(self, values: Mapping[str, Any], *, asks_engine: bool = True) -> RequestError | None:
        request = msgspec.structs.replace(_SILENT, **values)
        for need in missing(request, self._capabilities):
            return unsupported(need, self._capabilities)
        if not asks_engine:
            return None
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await self._instance.check(request)
        except RequestError as error:
            return error
        except (EnginehouseError, TimeoutError):
            return None  # what ails the engine is found by who watches over it
        except Exception:  # a plugin's fault must not end the task that watches over the instance
            log.exception("backend broke while it checked a request", model=self._model)
        return None
