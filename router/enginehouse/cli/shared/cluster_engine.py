"""One engine of a cluster, in a process of its own: what `enginehouse cluster engine` is, which nodes start."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import msgspec

from enginehouse.cli.shared.setup import host_devices
from enginehouse.cluster.messages import Order, Said, encode
from enginehouse.cluster.tables import house_of, those
from enginehouse.config import ConfigError
from enginehouse.dialects.profiles import built_in
from enginehouse.plugins import Plugins
from enginehouse.telemetry import configure_logging
from enginehouse_plugin import API_VERSION, InstanceChange, hookimpl


class _Reporter:
    """Says each state of the instance; one that has failed ends this process: to start it again is its router's."""

    enginehouse_api = API_VERSION

    def __init__(self, out: int) -> None:
        self._out = out
        self._has_failed = False
        self.capacity: Any = lambda: 0  # Any: the fleet is built after its observers

    @hookimpl
    def enginehouse_instance_changed(self, change: InstanceChange) -> None:
        """Say it; what follows a failure is the end of this process."""
        if self._has_failed:
            return
        self.say(Said(state=change.after, reason=change.reason, capacity=self.capacity()))
        if change.after == "failed":
            self._has_failed = True
            os.kill(os.getpid(), signal.SIGTERM)

    def say(self, said: Said) -> None:
        """Write *said*, unless nobody reads any more."""
        try:
            os.write(self._out, encode(said) + b"\n")
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)


def serve_engine() -> None:
    """Serve what standard input orders, until that ends."""
    line = sys.stdin.buffer.readline()
    out = os.dup(1)
    os.dup2(2, 1)  # what engines print there is no message
    configure_logging("json", "info")
    reporter = _Reporter(out)
    plugins = Plugins.load(profiles=built_in())
    plugins.add(reporter, "cluster-engine")
    order = msgspec.json.decode(line, type=Order)
    try:
        _serve(order, plugins, reporter)
    except ConfigError as error:
        reporter.say(Said(state="failed", reason=str(error)))
        sys.exit(2)


def _serve(order: Order, plugins: Plugins, reporter: _Reporter) -> None:
    from enginehouse.assembly import build
    from enginehouse.http.server import listen, serve

    config = house_of(order, plugins.backends)
    devices = those(host_devices(plugins), order.spec.devices)
    with listen(order.host, 0) as listener:
        host, port = listener.getsockname()[:2]
        house = build(config, plugins, devices=devices)

        def capacity() -> int:
            found = [hosted.capabilities for hosted in house.fleet.instances() if hosted.capabilities is not None]
            return sum(one.max_concurrent_requests for one in found)

        reporter.capacity = capacity
        reporter.say(Said(state="listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}"))
        threading.Thread(target=_end_with_input, daemon=True).start()
        try:
            serve(listener, house.app, house.fleet, house.live)
        finally:
            house.close()


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
