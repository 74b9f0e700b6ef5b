"""Fingerprints of instances: taken and compared by the suite's public face.

The suite is an extra: this is imported where a configuration has fingerprints taken, after `require_suite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from enginehouse.telemetry import get_logger
from enginehouse_conformance import BAND_OF as BAND_OF
from enginehouse_conformance import (
    Asker,
    CannotCompare,
    Fingerprint,
    Probe,
    compare_fingerprints,
    distance,
    encode_fingerprint,
    prompts_for,
    read_fingerprint,
    top_of,
)
from enginehouse_plugin.errors import EnginehouseError

from .certificate import Certificate
from .difference import Difference
from .folder import CertificateFolder
from .probe import Probed

__all__ = [
    "LEAST_PROBES",
    "PROBES",
    "CannotCompare",
    "Fingerprint",
    "InstanceAsker",
    "Probe",
    "arithmetic",
    "compared",
    "distance",
    "encode_fingerprint",
    "probe_of",
    "prompts_for",
    "read_fingerprint",
    "stored_for",
    "taken",
]

PROBES: Final = 24
LEAST_PROBES: Final = 8
"""Fewer are no fingerprint: with these D still tells other weights."""

log = get_logger()

Ask = Callable[[str, float], Awaitable[Probed]]
"""Asks a prompt at a temperature."""


class InstanceAsker(Asker):
    """Asks an instance by *ask*; *told* is what is known of how it serves *model*."""

    def __init__(self, ask: Ask, instance: str, model: str, told: Mapping[str, str]) -> None:
        super().__init__(instance, model)
        self._ask = ask
        self.served_by.update({name: {value} for name, value in told.items()})

    async def probe(self, prompt: str) -> Probe | None:
        """See `Asker.probe`."""
        try:
            probed = await self._ask(prompt, float(self.fields["temperature"]))
        except EnginehouseError as error:
            raise CannotCompare(f"{self.address}: {error.message}") from error
        return probe_of(prompt, probed)


def probe_of(prompt: str, probed: Probed) -> Probe | None:
    """What came to *prompt* as a probe of a fingerprint; None where no log probabilities did."""
    return Probe(prompt, probed.prompt_tokens, top_of(probed.top)) if probed.top else None


async def taken(asker: Asker, *, seed: int, also: Fingerprint | None = None, limit_s: float) -> Fingerprint:
    """What *asker* is told within *limit_s* seconds to the prompts of *seed*, and before to those of *also*.

    Raises:
        CannotCompare: it gives too little, or too little within that time.
    """
    before = [] if also is None else [probe.prompt for probe in also.probes[:PROBES]]
    wanted = PROBES + len(before)
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            for prompt in dict.fromkeys([*before, *prompts_for(seed, PROBES)]):
                if (probe := await asker.ask(prompt)) is not None:
                    asker.keep(probe)
                if len(asker.probes) == wanted:
                    break
    if len(asker.probes) < LEAST_PROBES:
        told = f"{len(asker.probes)} probes had an answer within {limit_s:g} s, and {LEAST_PROBES} are needed"
        raise CannotCompare(f"{asker.address}: {told}.")
    return asker.fingerprint(seed)


async def compared(reference: Fingerprint, found: Fingerprint, against: str) -> Difference:
    """How far *found* is from *reference*, which is called *against*.

    Raises:
        CannotCompare: they have no prompt in common.
    """
    # Apart: its bootstrap takes tens of milliseconds.
    whole = await asyncio.to_thread(compare_fingerprints, reference, found, probes=PROBES)
    return Difference(
        against=against,
        distance=whole.distance,
        low=whole.low,
        high=whole.high,
        band=whole.band,
        probes=len(whole.probes),
        same_prompt_tokens=whole.same_prompt_tokens,
        within=tuple(band.name for band in BAND_OF.values() if whole.is_within(band.name)),
    )


def stored_for(certificate: Certificate, folder: CertificateFolder) -> Fingerprint | None:
    """The fingerprint that was taken for *certificate*; None: none was, or it cannot be read. Blocks."""
    file = folder.fingerprint_file(certificate)
    if not file.is_file():
        return None
    try:
        return read_fingerprint(file)
    except CannotCompare as error:
        log.warning("fingerprint cannot be read", model=certificate.model, problem=str(error))
        return None


def arithmetic() -> float:
    """The most that d is where the arithmetic is the same."""
    return BAND_OF["arithmetic"].limit
