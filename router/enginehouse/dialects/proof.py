"""The routes of certificates and runs under `/admin`: what their bodies hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginehouse.certificates import Certificate, KeptReport, Run
from enginehouse.config import Name
from enginehouse.fleet import FleetSnapshot
from enginehouse.wire.decode import Decoder


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of the suite on a model that is loaded for it: of its `quick` core, or of all rules."""

    model: Name
    quick: bool = True


class ShownCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate without its key; `instances` are those that it is current for."""

    model: str
    source: str
    backend: str
    engine: str
    engine_version: str | None
    devices: tuple[str, ...]
    suite: str | None
    certified_at: str
    duration_s: float
    selection: str
    general: str
    features: dict[str, str]
    seen: dict[str, str]
    instances: tuple[str, ...]


class ShownProof(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates, reports that are kept, and the last run. `problem` says why no run can be started."""

    certificates: Sequence[ShownCertificate]
    unreadable: dict[str, str]
    reports: Sequence[KeptReport]
    run: Run | None
    problem: str | None


_decode_wanted = Decoder(Wanted).decode
encode = msgspec.json.Encoder().encode


def decode_wanted(body: bytes) -> Wanted:
    """Read the body of a run.

    Raises:
        InvalidRequest: see `Decoder.decode`.
    """
    return _decode_wanted(body)[0]


def shown_certificate(certificate: Certificate, fleet: FleetSnapshot) -> ShownCertificate:
    """What is told of *certificate*, and of who it is current for."""
    key = certificate.key
    return ShownCertificate(
        model=certificate.model,
        source=certificate.source,
        backend=key.backend,
        engine=key.engine,
        engine_version=key.engine_version,
        devices=key.devices,
        suite=key.suite,
        certified_at=certificate.certified_at,
        duration_s=certificate.duration_s,
        selection=certificate.selection,
        general=certificate.general.words,
        features={name: proof.words for name, proof in certificate.features.items()},
        seen=certificate.seen,
        instances=tuple(
            one.id
            for one in fleet.instances
            if (standing := one.standing) is not None
            and standing.state == "current"
            and standing.certificate is not None
            and standing.certificate.key == key
        ),
    )
