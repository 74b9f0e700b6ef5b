"""Where certificates lie: one file each, there whole or not at all, for the owner's eyes only."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from enginehouse_plugin.threadsafe import threadsafe

from .certificate import VERSION, Certificate, CertificatesUnusable
from .files import data_folder, make_private, write_whole

FINGERPRINTS = "fingerprints"
"""The folder of fingerprints, within that of certificates."""
_LARGEST_BYTES = 4 * 1024 * 1024


class Unreadable(msgspec.Struct, frozen=True):
    """A file that should be a certificate and is none this router reads; `name` is the name of its key."""

    name: str
    problem: str


@threadsafe
class _Version(msgspec.Struct, frozen=True):
    certificate_version: int


def default_folder() -> Path:
    """Where certificates lie unless the configuration names another folder."""
    return data_folder() / "certificates"


class CertificateFolder:
    """The certificates in the folder at *path*, which `prepare` and `save` make if need be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[list[Certificate], list[Unreadable]]:
        """All certificates, the newest first, and the files that are none. Never raises: a bad file proves nothing."""
        certificates: list[Certificate] = []
        unreadable: list[Unreadable] = []
        try:
            files = sorted(self.path.glob("*.json"))
        except OSError:
            files = []
        for file in files:
            found = _read(file)
            if isinstance(found, Certificate):
                certificates.append(found)
            else:
                unreadable.append(Unreadable(file.stem, found))
        certificates.sort(key=lambda certificate: certificate.certified_at, reverse=True)
        return certificates, unreadable

    def prepare(self) -> None:
        """Find out whether certificates can be stored, before a run that takes minutes.

        Raises:
            CertificatesUnusable: they cannot.
        """
        with self._trouble():
            make_private(self.path)
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=".trial-"):
                pass

    def save(self, certificate: Certificate) -> Path:
        """Store *certificate* in place of an older one of the same key; returns its file.

        Raises:
            CertificatesUnusable: it cannot be stored; an older one is still there, whole.
        """
        file = self.path / f"{certificate.key.name}.json"
        text = msgspec.json.format(msgspec.json.encode(certificate, order="deterministic"), indent=2) + b"\n"
        with self._trouble():
            write_whole(file, text)
        return file

    def fingerprint_file(self, certificate: Certificate) -> Path:
        """Where the fingerprint lies that was taken for *certificate*, if one was."""
        return self.path / FINGERPRINTS / f"{certificate.key.name}.json"

    def save_fingerprint(self, certificate: Certificate, data: bytes) -> Path:
        """Store *data*, the fingerprint that was taken for *certificate*; returns its file.

        Raises:
            CertificatesUnusable: it cannot be stored.
        """
        file = self.fingerprint_file(certificate)
        with self._trouble():
            write_whole(file, data)
        return file

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = (
                "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
            )
            raise CertificatesUnusable(
                f"Certificates cannot be stored in {self.path}: {problem}. "
                "Name another folder with [certificates] path, or in ENGINEHOUSE_DATA."
            ) from error


def _read(file: Path) -> Certificate | str:
    """The certificate in *file*, or why there is none."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_BYTES + 1)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if len(data) > _LARGEST_BYTES:
        return "it is too large to be a certificate"
    try:
        version = msgspec.json.decode(data, type=_Version).certificate_version
        if version != VERSION:
            return f"it has version {version}; this router reads version {VERSION}"
        certificate = msgspec.json.decode(data, type=Certificate)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"it is damaged: {error}"
    if certificate.key.name != file.stem:
        return "its name does not belong to what is in it"
    return certificate
