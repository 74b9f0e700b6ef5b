"""What the instances of a model are compared with, and how near to it they must be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from enginehouse.certificates import Probed
from enginehouse.config import Config, Equivalence, Fingerprinting, ModelConfig
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .plan import InstancePlan

if TYPE_CHECKING:
    from enginehouse.certificates.answers import Fingerprint

POOL: Final = 240
"""Prompts among which those are looked for that are nearly tied."""

Ask = Callable[[str], Awaitable[Probed]]

log = get_logger()


class Compared(Protocol):
    """An instance, as its model's reference sees it."""

    async def judge(self) -> None:
        """Compare it with the reference as that is now."""


class Reference:
    """The reference of the model called *model*: a named fingerprint, or the first one that its first placement gave,
    whose index *first* tells.

    `fingerprint` is None until there is one, and `name` says whose it is. What was taken of the first placement stays,
    so that it is noticed, too, when that placement changes. `alarm_probes` is how many probes without a change there
    are between two false alarms, and `interval_s` the time between two.
    """

    def __init__(self, model: str, first: Callable[[], int] = lambda: 0) -> None:
        self.model = model
        self._first = first
        self.mode: Fingerprinting = "certify"
        self.equivalence: Equivalence = "any"
        self.interval_s = 60.0
        self.alarm_probes = 43_200.0
        self.fingerprint: Fingerprint | None = None
        self.name = ""
        self.tied: list[str] | None = None  # prompts whose likeliest tokens are nearly as likely as each other
        self._ask: Ask | None = None
        self._mode_before: Fingerprinting | None = None
        self._file: str | None = None
        self._rank: tuple[int, bool, str] | None = None
        self._all: WeakSet[Compared] = WeakSet()
        self._work: set[asyncio.Task[None]] = set()

    def take(self, config: Config, model: ModelConfig) -> None:
        """Take from *config* how near instances must be, and to what."""
        self.mode = config.fingerprint_in(model)
        self.equivalence = model.equivalence
        self.interval_s = config.watch.interval_s
        self.alarm_probes = config.watch.false_alarm_days * 86_400 / config.watch.interval_s
        if (model.reference, self.mode) != (self._file, self._mode_before):
            self._file, self._mode_before = model.reference, self.mode
            self.forget()

    def follow(self, config: Config, model: ModelConfig) -> None:
        """Take from *config* what is new, and have instances judged by it."""
        before = (self.equivalence, self._file)
        self.take(config, model)
        if before != (self.equivalence, self._file):
            self._spread()

    def forget(self) -> None:
        """Have no reference but a named one: the placements are others now."""
        self.fingerprint, self.name, self._rank, self.tied = None, "", None, None
        if self._file is not None and self.mode == "load":
            from enginehouse.certificates.answers import CannotCompare, read_fingerprint

            try:
                self.fingerprint, self.name = read_fingerprint(Path(self._file)), self._file
            except CannotCompare as error:  # it was there when the configuration was read
                log.error("reference cannot be read", model=self.model, problem=str(error))

    @property
    def is_named(self) -> bool:
        """Whether it stands in the configuration."""
        return self._file is not None

    def join(self, one: Compared) -> None:
        """Have *one* judged whenever there is another reference."""
        self._all.add(one)

    def offer(self, planned: InstancePlan, fingerprint: Fingerprint, ask: Ask | None = None) -> None:
        """Take *fingerprint* of what was loaded as *planned* where that is the first placement, and gave none before.

        By *ask* it is asked for more.
        """
        rank = (planned.index, planned.host is not None, planned.id)
        if self._file is not None or planned.index > self._first() or (self._rank is not None and rank >= self._rank):
            return
        self._rank, self.fingerprint, self.name = rank, fingerprint, planned.id
        self._ask = ask
        log.info("reference taken", model=self.model, instance=planned.id, probes=len(fingerprint.probes))
        self._spread()

    async def prompts_for_texts(self, seed: int) -> list[str]:
        """Prompts to which a small change makes another text: those of *seed* whose likeliest first tokens are nearly
        tied for the reference. Without one they are the first.
        """
        from enginehouse.certificates.answers import PROBES, probe_of, prompts_for

        if self.tied is None and self.fingerprint is not None:
            known = {probe.prompt: probe for probe in self.fingerprint.probes}
            for prompt in prompts_for(seed, POOL // 3) if self._ask is not None else ():
                if prompt not in known and self._ask is not None:
                    with suppress(EnginehouseError):
                        if (probe := probe_of(prompt, await self._ask(prompt))) is not None:
                            known[prompt] = probe
            self.tied = sorted(known, key=lambda prompt: _gap(known[prompt].top))[:PROBES]
        return self.tied or list(islice(prompts_for(seed, PROBES), PROBES))

    def _spread(self) -> None:
        for one in list(self._all):
            self._start(one.judge)

    def _start(self, judge: Callable[[], Awaitable[None]]) -> None:
        async def judged() -> None:
            await judge()

        task = asyncio.create_task(judged())
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def _gap(top: Mapping[str, float]) -> float:
    """How far the two likeliest are apart."""
    first, second = [*sorted(top.values(), reverse=True), float("-inf"), float("-inf")][:2]
    return first - second
