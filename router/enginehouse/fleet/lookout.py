"""Whether what is served elsewhere, by an upstream or another host, still answers as it did: a probe now and then.

Probes are sent while nothing runs there of this router's, one in an interval, and are judged by `drift`: by the
distance of their log probabilities from the first answers, and where the endpoint gives none, by its texts. What the
endpoint's answers differ among themselves is measured first, when each prompt is asked a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from enginehouse.certificates import CertificatesUnusable, Probed, secret_seed
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .drift import Drift, of_distances, of_texts
from .gate import Gate
from .identity import Identity
from .others import Others
from .plan import InstancePlan

if TYPE_CHECKING:
    from enginehouse.certificates.answers import Fingerprint, Probe

TEXT_TOKENS: Final = 16
"""Tokens of an answer that is compared as text."""
LEAST_TEXTS: Final = 4
_NOISY: Final = 3.0
"""Answers that are so many times farther from the first than from each other are no noise: they have changed."""
_LOOK_S: Final = 0.25

log = get_logger()


class Watched(Protocol):
    """An instance, as it is looked after here."""

    id: str
    model: str
    identity: Identity
    gate: Gate
    others: Others

    @property
    def planned(self) -> InstancePlan:
        """The decision for it."""
        ...

    async def probe(self, prompt: str, temperature: float = 0.0, *, tokens: int = 0) -> Probed:
        """See `Face.probe`."""
        ...

    async def assess(self) -> None:
        """Compare it with its certificate as that is now."""

    def tell(self, reason: str) -> None:
        """Have observers told of *reason*, though its state is the same."""


async def look_out(hosted: Watched, take: Callable[[], Awaitable[None]] | None) -> None:
    """Probe *hosted*, for as long as nobody cancels, if it is elsewhere and its owner wants that.

    First *take* has its fingerprint taken, where that has not been yet.
    """
    if hosted.planned.devices or hosted.identity.reference.mode != "load":
        return
    lookout = _Lookout(hosted)
    try:
        if take is not None:
            await take()
            await hosted.assess()
        if hosted.identity.taken is not None:
            await lookout.by_distances(hosted.identity.taken)
        else:
            await lookout.by_texts()
    except Exception:  # it must not end what it looks after
        log.exception("instance is watched no more", instance=hosted.id, model=hosted.model)


class _Lookout:
    def __init__(self, hosted: Watched) -> None:
        self._hosted = hosted
        self._identity = hosted.identity
        self._reference = hosted.identity.reference

    async def by_distances(self, first: Fingerprint) -> None:
        """Probe it with the prompts of *first*, its answers until now."""
        from enginehouse.certificates.answers import arithmetic

        while True:
            again = await self._again(first)
            distances = _distances(_by_prompt(first), again)
            noise = _mean(distances)
            if noise > arithmetic():
                # Two rounds more: in the first of them it may still be about to change.
                third = await self._again(first)
                last = await self._again(first)
                if _NOISY * _mean(_distances(third, last)) < noise:
                    changed = "other answers came when all was asked once more"
                    first = await self._changed(first, last, changed)
                    continue
            first = msgspec.structs.replace(first, noise=round(noise, 6))
            self._identity.retaken(first, self._identity.changed)
            limit = max([arithmetic(), *distances])
            log.info("instance is watched", instance=self._hosted.id, noise=first.noise, limit=limit)
            first = await self._until_other(first, Drift(of_distances(limit), self._reference.alarm_probes), limit)

    async def _until_other(self, first: Fingerprint, drift: Drift, limit: float) -> Fingerprint:
        """Probe until the answers are others; returns these, of which everybody has been told."""
        far: dict[str, Probe] = {}
        for asked in cycle(first.probes):
            found = await self._next(asked.prompt)
            if found is None:
                continue
            distance = _distance(asked, found)
            if distance > limit:
                far[asked.prompt] = found
            if drift.hear(distance):
                break
            if not drift.is_suspicious:
                far.clear()
        far_ones = f"{drift.counted} of the last {drift.heard} probes"
        evidence = f"{far_ones} were farther from its earlier answers than {limit:.2g}"
        # What raised the alarm counts: of a mixture the next answers may be as before.
        return await self._changed(first, await self._again(first) | far, evidence)

    async def _changed(self, first: Fingerprint, latest: Mapping[str, Probe], evidence: str) -> Fingerprint:
        """Have the answers *latest* in place of *first*, because of *evidence*; returns them."""
        from enginehouse.certificates import answers

        probes = [latest.get(probe.prompt, probe) for probe in first.probes]
        other = msgspec.structs.replace(first, probes=probes)
        self._identity.retaken(other, evidence)
        difference = await answers.compared(first, other, "its earlier answers")
        await self._alarm(f"answers differ: {evidence}: {difference.words}", msgspec.structs.asdict(difference))
        return other

    async def by_texts(self) -> None:
        """Probe it with prompts to which a small change makes another text; a reference may be there by then."""
        await self._due()
        prompts = await self._prompts()
        while prompts:
            first: dict[str, Probed] = {}
            for prompt in prompts:
                one, other = [await self._text(prompt) for _ in range(2)]
                if one is not None and other is not None and not _differ(one, other):
                    first[prompt] = one
            if len(first) < LEAST_TEXTS:
                told = "its texts vary by themselves"
                log.warning("instance cannot be watched", instance=self._hosted.id, reason=told)
                return
            log.info("instance is watched", instance=self._hosted.id, texts=len(first))
            drift = Drift(of_texts(), self._reference.alarm_probes)
            for prompt in cycle(first):
                await self._due()
                found = await self._text(prompt)
                if found is not None and drift.hear(float(_differ(first[prompt], found))):
                    break
            evidence = f"{drift.counted} of the last {drift.heard} probes had another text than before"
            self._identity.changed = evidence
            await self._alarm(f"answers differ: {evidence}", {})

    async def _prompts(self) -> Sequence[str]:
        try:
            return await self._reference.prompts_for_texts(await asyncio.to_thread(secret_seed))
        except CertificatesUnusable as error:
            log.warning("instance cannot be watched", instance=self._hosted.id, reason=str(error))
            return ()

    async def _alarm(self, reason: str, figures: Mapping[str, Any]) -> None:
        await self._identity.judge()
        await self._hosted.assess()
        log.warning("answers changed", instance=self._hosted.id, model=self._hosted.model, reason=reason, **figures)
        self._hosted.tell(reason)

    # ---- probes ----

    async def _due(self) -> None:
        await asyncio.sleep(self._reference.interval_s)
        await self._idle()

    async def _idle(self) -> None:
        gate, others = self._hosted.gate, self._hosted.others
        while gate.running or gate.waiting or others.count:  # noqa: ASYNC110  # nobody tells of the others
            await asyncio.sleep(_LOOK_S)

    async def _next(self, prompt: str) -> Probe | None:
        await self._due()
        return await self._probe(prompt)

    async def _again(self, first: Fingerprint) -> dict[str, Probe]:
        """All prompts of *first*, asked once more while nothing runs."""
        found: dict[str, Probe] = {}
        for asked in first.probes:
            await self._idle()
            if (probe := await self._probe(asked.prompt, float(first.fields.get("temperature", 0)))) is not None:
                found[asked.prompt] = probe
        return found

    async def _probe(self, prompt: str, temperature: float = 0.0) -> Probe | None:
        """None where it does not answer now: others see to that."""
        from enginehouse.certificates import answers

        try:
            probed = await self._hosted.probe(prompt, temperature)
        except EnginehouseError as error:
            log.debug("probe without an answer", instance=self._hosted.id, problem=error.message)
            return None
        return answers.probe_of(prompt, probed)

    async def _text(self, prompt: str) -> Probed | None:
        await self._idle()
        try:
            return await self._hosted.probe(prompt, tokens=TEXT_TOKENS)
        except EnginehouseError as error:
            log.debug("probe without an answer", instance=self._hosted.id, problem=error.message)
            return None


def _distance(one: Probe, other: Probe) -> float:
    """d; another number of tokens of the prompt is another template, however near the answers are."""
    from enginehouse.certificates.answers import distance

    return 1.0 if one.prompt_tokens != other.prompt_tokens else distance(one.top, other.top)


def _by_prompt(fingerprint: Fingerprint) -> dict[str, Probe]:
    return {probe.prompt: probe for probe in fingerprint.probes}


def _distances(one: Mapping[str, Probe], other: Mapping[str, Probe]) -> list[float]:
    return [_distance(probe, other[prompt]) for prompt, probe in one.items() if prompt in other]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _differ(one: Probed, other: Probed) -> bool:
    return (one.text, one.prompt_tokens) != (other.text, other.prompt_tokens)
