"""A backend to make keys of, and certificates to compare with them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from enginehouse.certificates import Certificate, CertificateFolder, Key, Proof
from enginehouse_plugin import Backend, BackendType, Device, Placement, ProbeReport

CPU = Device(id="cpu", kind="cpu", name="Test CPU", memory_bytes=8 << 30)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    slots: int = 4
    secret: str = "s3cret-token"
    binary: str | None = None
    chat_template: str | None = None
    chat_template_file: str | None = None


class Prober(Backend):
    def __init__(self, version: str | None) -> None:
        self._version = version

    async def probe(self, python: str | None = None) -> ProbeReport:
        if self._version == "broken":
            raise RuntimeError("the probe broke")
        version = self._version if python is None else f"{self._version} of {python}"
        return ProbeReport(available=True, engine="quill", engine_version=version)

    async def load(self, placement, devices, progress):
        raise NotImplementedError


def kind(engine_version: str | None = "1.0", **changes: object) -> BackendType:
    made = BackendType(name="quill", version="0.1", create=lambda: Prober(engine_version), options=Options)
    return msgspec.structs.replace(made, **changes)


def placement(path: Path | str | None, **changes: object) -> Placement:
    made = Placement(
        model="m", backend="quill", source="weights", path=None if path is None else str(path), options=Options()
    )
    return msgspec.structs.replace(made, **changes)


KEY = Key(
    backend="quill",
    plugin_version="0.1",
    engine="quill",
    engine_version="1.0",
    environment=None,
    weights="a" * 64,
    template="b" * 16,
    options={"slots": "c" * 16},
    devices=("cpu (Test CPU)",),
    suite="2026.11",
)


def a_certificate(**changes: object) -> Certificate:
    features = {"n": Proof(state="proven", passed=3), "stop": Proof(state="failed", passed=1, failed=("STOP1",))}
    made = Certificate(
        certificate_version=1,
        key=KEY,
        model="m",
        source="weights",
        certified_at="2026-11-21T07:30:00+00:00",
        duration_s=12.5,
        selection="all",
        seed=7,
        general=Proof(state="proven", passed=9),
        features=features,
    )
    return msgspec.structs.replace(made, **changes)


def a_key(**changes: object) -> Key:
    return msgspec.structs.replace(KEY, **changes)


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder for data, away from the owner's."""
    folder = tmp_path / "data"
    monkeypatch.setenv("ENGINEHOUSE_DATA", str(folder))
    return folder


@pytest.fixture
def folder(data: Path) -> CertificateFolder:
    return CertificateFolder(data / "certificates")
