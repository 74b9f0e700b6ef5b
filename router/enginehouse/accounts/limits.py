"""Limits of keys and of models: how much within a minute or a day, and how many requests at a time.

Routers that share a database are handed out parts of a limit there (see `parts`), so that all of them together keep
to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from enginehouse.config import Limits

from .facts import Facts
from .meters import DAY_S, SOON_S, Left, Meter
from .parts import PATIENCE_S, Ask, HandsOut, Sharing, Undecided

Held = tuple[list[Meter], int]
"""What a request holds while it runs: by which meters, and how many tokens it has reserved."""


class Limiter:
    """Keeps requests to the limits of their keys and models.

    Where several routers share a database, this one is number `rank` of `routers`: by that a limit is divided while
    the database does not answer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sharing: Sharing | None = None
        self._keys: dict[str | None, Meter] = {}
        self._models: dict[str, Meter] = {}
        self.rank, self.routers = 0, 1

    def set_keys(self, limits: Mapping[str | None, Limits]) -> None:
        """Keep keys by these names to *limits* from now on; what they had counts on, and others stay as they are."""
        meters = dict(self._keys)
        for name, given in limits.items():
            if given.are_set:
                meters[name] = meter = meters.get(name) or Meter("This API key", given, f"key:{name}")
                meter.limit(given)
            else:
                meters.pop(name, None)
        self._keys = meters

    def forget_keys(self, names: Iterable[str]) -> None:
        """Hold keys by these names to no limits."""
        gone = set(names)
        self._keys = {name: meter for name, meter in self._keys.items() if name not in gone}

    def set_models(self, limits: Mapping[str, Limits]) -> None:
        """Keep models by these names to *limits* from now on, over all keys."""
        known, self._models = self._models, {}
        for name, given in limits.items():
            if given.are_set:
                self._models[name] = meter = known.get(name) or Meter("This model", given.limits, f"model:{name}")
                meter.limit(given.limits)

    def remember(self, had: Iterable[tuple[str | None, str, float, int]]) -> None:
        """Count what keys had of models before this router began: key, model, seconds ago, tokens; the oldest first."""
        now = self._clock()
        for key, model, ago_s, tokens in had:
            for meter in (self._keys.get(key), self._models.get(model)):
                if meter is not None:
                    meter.day.add(now - min(max(ago_s, 0.0), DAY_S), tokens)

    def share(self, desk: HandsOut) -> None:
        """Keep to limits together with other routers: by parts that *desk* hands out."""
        self._sharing = Sharing(desk, self._clock)

    def enter(self, facts: Facts, tokens: int) -> None:
        """Let a request pass that may take *tokens*, and count it until `leave`.

        Raises:
            RateLimited: its key or its model has had as much as it may.
            Undecided: a part of the limit has to be asked for; call it again `when_known`.
        """
        by_key, by_model = self._keys.get(facts.key), self._models.get(facts.model)
        if by_model is None:
            if by_key is None:
                return
            meters = [by_key]
        else:
            meters = [by_model] if by_key is None else [by_key, by_model]
        now = self._clock()
        if self._sharing is not None:
            self._check_shared(self._sharing, meters, facts, now, tokens)
        else:
            for meter in meters:
                meter.check(now, tokens)
        for meter in meters:
            meter.enter(now, tokens)
        facts.held = (meters, tokens)

    def _check_shared(self, sharing: Sharing, meters: list[Meter], facts: Facts, now: float, tokens: int) -> None:
        lacking = [(meter, kind, wanted) for meter in meters for kind, wanted in meter.lacks(now, tokens)]
        if not lacking:
            return
        for meter, kind, wanted in lacking:
            part = meter.parts[kind]
            if not part.is_asked and now >= part.again_at and (ask := meter.ask(kind, now, wanted)) is not None:
                sharing.ask(ask, part)
        if facts.asked_at is None:
            facts.asked_at = now
        is_late = now - facts.asked_at >= PATIENCE_S
        if is_late and any((meter.parts[kind].told_at or 0.0) < facts.asked_at for meter, kind, _ in lacking):
            sharing.is_cut_off = True
        if sharing.is_cut_off:
            for meter in meters:
                meter.check(now, tokens, self._part)
        elif is_late:
            meter, kind, _ = lacking[0]  # others that hold it may be gone
            meter.parts[kind].refuse(now, SOON_S)
            raise meter.refusal(kind, SOON_S)
        else:
            raise Undecided

    def when_known(self, then: Callable[[], None]) -> None:
        """Call *then* when there may be an answer to what a request is undecided about."""
        if self._sharing is not None:
            self._sharing.wait(then)

    @property
    def has_parts(self) -> bool:
        """Whether this router may hold what others want."""
        return self._sharing is not None and self._sharing.loop is not None

    def give_back(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Let others have what is unused of the limits that these are short of: subjects and kinds. Any thread asks."""
        sharing = self._sharing
        limits = list(wanted)
        if limits and sharing is not None and sharing.loop is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                sharing.loop.call_soon_threadsafe(self._give_back, sharing, limits)

    def _give_back(self, sharing: Sharing, wanted: list[tuple[str, str]]) -> None:
        now = self._clock()
        for subject, kind in wanted:
            of, _, name = subject.partition(":")
            meter = self._keys.get(name) if of == "key" else self._models.get(name)
            part = None if meter is None else meter.parts.get(kind)
            if meter is not None and part is not None and part.told_at is not None and not part.is_asked:
                ask = meter.ask(kind, now, 0)
                if ask is not None:
                    sharing.ask(ask, part)

    def last_words(self) -> list[Ask]:
        """What is said of all parts when no request comes any more: that nothing is held unused."""
        now = self._clock()
        asks = []
        for meter in (*self._keys.values(), *self._models.values()):
            for kind, part in meter.parts.items():
                part.unused = 0
                if part.told_at is not None and (ask := meter.ask(kind, now, 0)) is not None:
                    asks.append(ask)
        return asks

    def leave(self, facts: Facts) -> None:
        """Count what a request that ends has taken."""
        held: Held | None = facts.held
        if held is None:
            return
        facts.held = None
        now = self._clock()
        tokens = facts.prompt_tokens + facts.completion_tokens
        meters, reserved = held
        for meter in meters:
            meter.leave(now, reserved, tokens)

    def told(self, facts: Facts) -> list[Left]:
        """What its client is told of the limits per minute: those of the model, and before them the key's own."""
        by_key, by_model = self._keys.get(facts.key), self._models.get(facts.model)
        if by_model is None:
            return [] if by_key is None else by_key.told(self._clock())
        now = self._clock()
        told = by_model.told(now)
        return told if by_key is None else list({each[0]: each for each in (*told, *by_key.told(now))}.values())

    def _part(self, limit: int) -> int:
        if self.routers == 1:
            return limit
        whole, rest = divmod(limit, self.routers)
        return whole + (self.rank < rest)
