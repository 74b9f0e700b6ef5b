"""What systemd hears, on a real socket of datagrams."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginehouse.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """An address as the environment has it, and the socket that hears what is sent there."""
    if request.param == "path":
        address = bound = str(tmp_path / "notify")
    elif os.uname().sysname != "Linux":
        pytest.skip("the abstract namespace is Linux's")
    else:
        address, bound = f"@enginehouse-{os.getpid()}", f"\0enginehouse-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(bound)
        heard.settimeout(5)
        yield address, heard


def lines(heard: socket.socket) -> list[str]:
    return heard.recv(4096).decode().split("\n")


def test_it_is_told_of_each_state_in_one_datagram(supervisor: tuple[str, socket.socket]) -> None:
    address, heard = supervisor
    notifier = Notifier(address)
    notifier.ready()
    assert lines(heard) == ["READY=1"]
    before_us = time.monotonic_ns() // 1000
    notifier.reloading()
    word, at = lines(heard)
    assert word == "RELOADING=1"
    name, _, value = at.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.monotonic_ns() // 1000
    notifier.stopping(1.5)
    assert lines(heard) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=1500000"]


def test_an_endless_drain_is_a_number_all_the_same(supervisor: tuple[str, socket.socket]) -> None:
    address, heard = supervisor
    Notifier(address).stopping(float("inf"))
    assert lines(heard) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=1000000000000000"]


def test_engines_do_not_inherit_the_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        Notifier.of_environment().ready()
        assert lines(heard) == ["READY=1"]
    assert "NOTIFY_SOCKET" not in os.environ


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1234"])
def test_nobody_is_told_without_an_address_that_is_understood(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier.of_environment()
    notifier.ready()
    notifier.stopping(1)
    assert notifier.address is None


def test_a_supervisor_that_is_gone_or_does_not_read_ends_nothing(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "absent")).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "full"))
        full.setblocking(False)
        notifier = Notifier(str(tmp_path / "full"))
        for _ in range(2000):  # more than a socket keeps
            notifier.ready()
        assert lines(full) == ["READY=1"]
