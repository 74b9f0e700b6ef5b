"""A certificate: for each feature that the instance declared, what the suite found."""

from __future__ import annotations

from typing import Literal

import msgspec

from enginehouse_plugin.errors import EnginehouseError
from enginehouse_plugin.threadsafe import threadsafe

from .key import Key

VERSION = 1

ProofState = Literal["proven", "failed", "inconclusive", "untested"]


class CertificatesUnusable(EnginehouseError):
    """Certificates cannot be stored; the message says where and why."""

    code = "certificates_unusable"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules about one feature came to.

    `proven`: all that were judged passed, at least one; `failed`: at least one did not; `inconclusive`: of at least
    one nothing can be said; `untested`: none was judged.
    """

    state: ProofState
    passed: int = 0
    failed: tuple[str, ...] = ()
    inconclusive: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The state, and the rules behind it."""
        rules = self.failed or self.inconclusive
        return f"{self.state} ({', '.join(rules)})" if rules else self.state


@threadsafe
class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one run. `general` is about rules that need no feature.

    `selection` is `all` or `quick` (the suite's quick core). `seen` says for each rule that failed or was
    inconclusive what was seen.
    """

    certificate_version: int
    key: Key
    model: str
    source: str
    certified_at: str
    duration_s: float
    selection: Literal["all", "quick"]
    seed: int
    general: Proof
    features: dict[str, Proof]
    seen: dict[str, str] = {}

    @property
    def proven(self) -> frozenset[str]:
        """The features that are proven."""
        return frozenset(name for name, proof in self.features.items() if proof.state == "proven")

    @property
    def unproven(self) -> dict[str, str]:
        """The other features, each with its state and the rules behind it."""
        return {name: proof.words for name, proof in sorted(self.features.items()) if proof.state != "proven"}

    @property
    def has_failures(self) -> bool:
        """Whether anything failed."""
        return any(proof.state == "failed" for proof in (self.general, *self.features.values()))

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed, and every feature that was tested is proven."""
        return not self.has_failures and all(proof.state != "inconclusive" for proof in self.features.values())
