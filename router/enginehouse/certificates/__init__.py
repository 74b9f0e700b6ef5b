"""Certificates: what the conformance suite found of a backend with its engine, weights, options and hardware.

`enginehouse certify` makes and stores them; an instance that loads is compared with them, once:

| standing | what is stored |
|---|---|
| `current` | a certificate of exactly this |
| `stale` | one of this model, but a part of its key has changed; the reason says which |
| `none` | nothing of this model |
| `unreadable` | a file of exactly this, damaged or of another version |
"""

from __future__ import annotations

from .assess import Certificates
from .certificate import Certificate, CertificatesUnusable, Proof, ProofState
from .difference import Difference
from .fingerprint import fingerprint_of
from .folder import CertificateFolder, default_folder
from .judge import Finding, Outcome, judge
from .key import Key, changes, engine_of
from .probe import TOP, Probed, probe_instance
from .runs import FILES, KeptReport, ReportNotFound, Run, RunNotPossible, Runs
from .secret import secret_seed
from .standing import NO_STANDING, Standing, explained, standing_of, usable
from .suite import check_fingerprints
from .told import told_of

__all__ = [
    "FILES",
    "NO_STANDING",
    "TOP",
    "Certificate",
    "CertificateFolder",
    "Certificates",
    "CertificatesUnusable",
    "Difference",
    "Finding",
    "KeptReport",
    "Key",
    "Outcome",
    "Probed",
    "Proof",
    "ProofState",
    "ReportNotFound",
    "Run",
    "RunNotPossible",
    "Runs",
    "Standing",
    "changes",
    "check_fingerprints",
    "default_folder",
    "engine_of",
    "explained",
    "fingerprint_of",
    "judge",
    "probe_instance",
    "secret_seed",
    "standing_of",
    "told_of",
    "usable",
]
