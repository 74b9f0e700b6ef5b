"""How the instances that this host would load stand to their certificates, without loading them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse.certificates import NO_STANDING, Certificate, Certificates, Standing
from enginehouse.cli.shared.setup import Setup
from enginehouse.fleet import NotFetched, find_weights
from enginehouse_plugin.errors import LoadError


class StandingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A standing as the listings show it; `features` gives for each declared one `proven`, or what it is instead."""

    state: str
    reason: str = ""
    trust: str
    certified_at: str | None = None
    suite: str | None = None
    selection: str | None = None
    features: dict[str, str] = {}

    @property
    def words(self) -> str:
        """In few words, for a cell of a table."""
        if not self.features:
            return self.reason.removeprefix("it has ") or self.state
        proven = sum(words == "proven" for words in self.features.values())
        of = f"{proven} of {len(self.features)} features proven"
        return of if self.state == "current" else self.reason


def standings(setup: Setup, models: Iterable[str]) -> dict[str, StandingRow]:
    """The standing of each of *models* that has a place on this host. May read weights that are new here."""
    certificates = Certificates.of(setup.config)

    async def all_of_them() -> dict[str, StandingRow]:
        return {
            name: _row(await _standing(setup, certificates, name), setup.config.trust_in(setup.config.models[name]))
            for name in models
            if setup.instance(name) is not None
        }

    return asyncio.run(all_of_them())


async def _standing(setup: Setup, certificates: Certificates, name: str) -> Standing:
    planned = setup.instance(name)
    if planned is None:
        return NO_STANDING
    try:
        path = find_weights(planned.backend, planned.placement.source)
    except NotFetched:
        return msgspec.structs.replace(NO_STANDING, reason="its weights are not here")
    except LoadError:
        return NO_STANDING
    return await certificates.assess(planned.backend, planned.for_backend(path), planned.devices)


def _row(standing: Standing, trust: str) -> StandingRow:
    certificate: Certificate | None = standing.certificate
    facts: dict[str, Any] = {}
    if certificate is not None:
        facts = {
            "certified_at": certificate.certified_at,
            "suite": certificate.key.suite,
            "selection": certificate.selection,
            "features": {name: proof.words for name, proof in certificate.features.items()},
        }
    return StandingRow(state=standing.state, reason=standing.reason, trust=trust, **facts)
