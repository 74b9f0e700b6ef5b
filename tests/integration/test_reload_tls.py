"""A reload reads the files of the TLS certificate again: a renewed one holds for connections that come."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from .conftest import Serve
from .served import LAZY, locked


def make_certificate(folder: Path, name: str) -> None:
    """Write a certificate for *name*, and its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", f"/CN={name}", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


def presented(address: tuple[str, int]) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address) as raw, context.wrap_socket(raw) as wrapped:
        return wrapped.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_shown_after_a_reload_and_a_broken_one_is_refused(
    serve: Serve, tmp_path: Path
) -> None:
    if subprocess.run(["which", "openssl"], capture_output=True).returncode:
        pytest.skip("openssl makes the certificates")
    make_certificate(tmp_path, "before")
    owner = locked("secret", LAZY.replace("port = 0", 'port = 0\ntls_cert = "cert.pem"\ntls_key = "key.pem"'))
    served = serve(owner.replace('name = "tests"', 'name = "tests"\nadmin = true'), ready=False, folder=tmp_path)
    before = presented(served.address)

    def reload() -> httpx.Response:
        headers = {"authorization": "Bearer secret"}
        return httpx.post(f"{served.url}/admin/reload", headers=headers, verify=False, trust_env=False, timeout=60)

    make_certificate(tmp_path, "after")
    assert presented(served.address) == before
    assert reload().json() == {"applied": True, "changed": [], "needs_restart": []}
    after = presented(served.address)
    assert b"after" in after
    assert after != before
    (tmp_path / "cert.pem").write_text("no certificate")
    assert reload().json()["error"]["code"] == "invalid_configuration"
    assert presented(served.address) == after
