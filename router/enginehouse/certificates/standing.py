"""How an instance stands to the certificates that are stored, and what follows for the features it may use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from enginehouse_plugin import Capabilities
from enginehouse_plugin.errors import UnsupportedFeature

from .certificate import Certificate
from .folder import Unreadable
from .key import Key, changes

StandingState = Literal["current", "stale", "none", "unreadable"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` says in words why there is no current certificate; `certificate` may be stale."""

    state: StandingState
    reason: str = ""
    certificate: Certificate | None = None

    @property
    def proven(self) -> frozenset[str]:
        """The features that a current certificate proves."""
        return self.certificate.proven if self.certificate and self.state == "current" else frozenset()


NO_STANDING = Standing(state="none", reason="it has no certificate")


def standing_of(
    key: Key, model: str, certificates: Sequence[Certificate], unreadable: Sequence[Unreadable] = ()
) -> Standing:
    """How an instance of *model* with *key* stands to *certificates*, the newest first.

    Of certificates that are not of this key, the one of this model that differs least is called stale.
    """
    for certificate in certificates:
        if not changes(certificate.key, key):
            return Standing(state="current", certificate=certificate)
    for file in unreadable:
        if file.name == key.name:
            return Standing(state="unreadable", reason=f"its certificate cannot be used: {file.problem}")
    own = [certificate for certificate in certificates if certificate.model == model]
    if not own:
        return NO_STANDING
    nearest = min(own, key=lambda certificate: len(changes(certificate.key, key)))
    reason = f"its certificate of {nearest.certified_at} is stale: {'; '.join(changes(nearest.key, key))}"
    return Standing(state="stale", reason=reason, certificate=nearest)


def usable(declared: Capabilities, standing: Standing) -> Capabilities:
    """*declared* without the features that *standing* does not prove."""
    return msgspec.structs.replace(declared, features=declared.features & standing.proven)


def explained(
    refusal: UnsupportedFeature, model: str, declared: Capabilities | None, standing: Standing
) -> UnsupportedFeature:
    """*refusal*, saying why a feature is not proven and how to prove it, where it is declared."""
    feature = refusal.feature
    if declared is None or feature not in declared.features or feature in standing.proven:
        if declared is not None and refusal.turns_off in declared.features:
            return UnsupportedFeature(feature, param=refusal.param)  # it does what it has not proven
        return refusal
    why = standing.reason
    if standing.certificate is not None and standing.state == "current":
        why = f"its certificate says {standing.certificate.unproven.get(feature, 'untested')}"
    return UnsupportedFeature(
        feature,
        param=refusal.param,
        message=f"'{refusal.param}' needs the feature '{feature}', which '{model}' declares but has not proven here: "
        f"{why}. This server trusts only what is proven; to prove it, its owner runs 'enginehouse certify {model}' "
        "and restarts it.",
    )
