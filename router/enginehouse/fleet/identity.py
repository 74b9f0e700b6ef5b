"""What an instance answers, and how far that is from its certificate's answers and from its model's reference."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from enginehouse.certificates import (
    Certificates,
    CertificatesUnusable,
    Difference,
    Probed,
    Standing,
    probe_instance,
    secret_seed,
    told_of,
)
from enginehouse.config import Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Instance, Placement

from .plan import InstancePlan
from .reference import Reference

if TYPE_CHECKING:
    from enginehouse.certificates.answers import Fingerprint

LOAD_S: Final = 20.0
"""A fingerprint at a load takes no longer: what has come until then counts, where it is enough."""
_NOISY: Final = 3.0
"""Farther than so many times the distance of an engine from itself is no noise of it."""

log = get_logger()

OnUsage = Callable[[str, str, int, int], None]
"""Hears of a probe's tokens: the model, the instance, those of the prompt and of the completion."""


def unheard(model: str, instance: str, prompt_tokens: int, completion_tokens: int) -> None:
    """Hear of tokens, and keep no account of them."""


class Identity:
    """The fingerprint of one instance, `taken` at its last load, and what follows from it.

    `reason` says why there is none. `difference` is the comparison with the model's reference, and `aside` why the
    instance is set aside because of that (None: it is not). `changed` says how an alarm was raised since it has loaded.
    Tokens of probes are counted in `prompt_tokens` and `completion_tokens`.
    """

    def __init__(self, instance: str, reference: Reference | None = None, on_usage: OnUsage = unheard) -> None:
        self.reference = reference or Reference("")
        self.taken: Fingerprint | None = None
        self.reason = "not taken"
        self.difference: Difference | None = None
        self.aside: str | None = None
        self.changed: str | None = None
        self.probes = self.prompt_tokens = self.completion_tokens = 0
        self.on_aside: Callable[[], None] = lambda: None
        self.probe: Callable[[str], Awaitable[Probed]] | None = None  # in a slot that nobody wants
        self._instance = instance
        self._on_usage = on_usage

    async def ask(self, instance: Instance, prompt: str, temperature: float = 0.0, *, tokens: int = 0) -> Probed:
        """What comes to *prompt* from *instance*: a token with its alternatives, or a text of so many *tokens*.

        Raises:
            EnginehouseError: it refuses that, or fails.
        """
        probed = await probe_instance(
            instance, prompt, tokens=tokens or 1, temperature=temperature, has_logprobs=not tokens
        )
        self.probes += 1
        self.prompt_tokens += probed.prompt_tokens or 0
        self.completion_tokens += probed.completion_tokens
        self._on_usage(self.reference.model, self._instance, probed.prompt_tokens or 0, probed.completion_tokens)
        return probed

    def may_come_later(self, planned: InstancePlan, trust: Trust) -> bool:
        """Whether requests may come before a fingerprint is taken: nothing follows from it for them, and others are in
        the engine's steps anyway.
        """
        return not planned.devices and trust == "declared" and self.reference.equivalence == "any"

    async def take(
        self, instance: Instance, planned: InstancePlan, placement: Placement, engine: tuple[str, str | None]
    ) -> None:
        """Take the fingerprint of *instance*, which has just loaded, where its owner wants that, and judge it."""
        self.taken = self.difference = self.changed = None
        self.reference.join(self)
        if self.reference.mode != "load":
            self.reason = f'fingerprint = "{self.reference.mode}"'
        elif "chat" not in instance.capabilities.tasks:
            self.reason = "it is for no chat"
        elif "logprobs" not in instance.capabilities.features:
            self.reason = "it gives no log probabilities"
        else:
            await self._take(instance, planned, placement, engine)
        await self.judge()

    async def _take(
        self, instance: Instance, planned: InstancePlan, placement: Placement, engine: tuple[str, str | None]
    ) -> None:
        from enginehouse.certificates import answers

        async def ask(prompt: str, temperature: float) -> Probed:
            return await self.ask(instance, prompt, temperature)

        told = told_of(planned.backend, placement, planned.devices, engine)
        asker = answers.InstanceAsker(ask, self._instance, planned.model, told)
        reference = self.reference
        named = reference.fingerprint if reference.is_named else None
        try:
            seed = await asyncio.to_thread(secret_seed)
            self.taken = await answers.taken(asker, seed=seed, also=named, limit_s=LOAD_S)
        except (answers.CannotCompare, CertificatesUnusable) as error:
            self.reason = str(error)
            log.warning("fingerprint not taken", instance=self._instance, model=planned.model, reason=self.reason)
            return
        self.reason = ""
        reference.offer(planned, self.taken, self.probe)

    def retaken(self, fingerprint: Fingerprint, changed: str | None) -> None:
        """Have *fingerprint* in place of the one that was taken; *changed* says what an alarm was raised by."""
        self.taken, self.changed = fingerprint, changed

    async def judge(self) -> None:
        """Compare with the reference as that is now, and set the instance aside where it is too far from it."""
        reference, taken = self.reference, self.taken
        self.difference = None
        if taken is not None and reference.fingerprint is not None:
            own = reference.name == self._instance
            against = "its own first answers, the reference" if own else f"the reference, {reference.name}"
            self.difference = await self._compared(reference.fingerprint, taken, against)
        self._settle()

    def _settle(self) -> None:
        wanted, difference, before = self.reference.equivalence, self.difference, self.aside
        self.aside = None
        if difference is not None and not difference.is_within(wanted):
            told = f"from {difference.against}, it has {difference.words}"
            self.aside = f'set aside: {told}, and equivalence = "{wanted}"'
        elif difference is None and wanted != "any" and self.changed is not None:
            self.aside = f'set aside: {self.changed}; how far cannot be told, and equivalence = "{wanted}"'
        if (self.aside is None) != (before is None):
            write = log.info if self.aside is None else log.warning
            what = "taken back" if self.aside is None else "set aside"
            write(f"instance {what}", instance=self._instance, model=self.reference.model, reason=self.aside or before)
            self.on_aside()

    async def certified(self, standing: Standing, certificates: Certificates | None) -> Standing:
        """*standing*, or stale where the answers are not those of the certificate any more."""
        certificate = standing.certificate
        if standing.state != "current" or certificate is None or certificates is None:
            return standing
        found: str | None = self.changed
        if self.taken is not None:
            from enginehouse.certificates import answers

            stored = await asyncio.to_thread(answers.stored_for, certificate, certificates.folder)
            difference = stored and await self._compared(stored, self.taken, "its certificate")
            if stored and difference:
                noise = max(stored.noise or 0.0, self.taken.noise or 0.0)
                limit = max(answers.arithmetic(), _NOISY * noise)
                is_same = difference.distance <= limit and difference.same_prompt_tokens is not False
                found = None if is_same else ": ".join(filter(None, (self.changed, difference.words)))
        if found is None:
            return standing
        reason = f"its certificate of {certificate.certified_at} is stale: answers differ: {found}"
        return msgspec.structs.replace(standing, state="stale", reason=reason)

    async def _compared(self, reference: Fingerprint, found: Fingerprint, against: str) -> Difference | None:
        from enginehouse.certificates import answers

        try:
            return await answers.compared(reference, found, against)
        except answers.CannotCompare as error:
            self.reason = f"not compared with {against}: {error}"
            return None

    @property
    def words(self) -> str:
        """What is known, in a line."""
        if self.aside is not None:
            return self.aside
        if self.difference is not None:
            return f"{self.difference.words}, from {self.difference.against}"
        return self.changed or self.reason or "no reference yet"
