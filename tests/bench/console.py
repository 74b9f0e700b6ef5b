"""`python -m tests.bench.console`: what the console costs the router that it watches, and the browser that shows it.

The house is scripted: 20 hosts with two devices each, whose memory changes all the time, 200 instances, and 50 requests
a second, which change as many instances as they meet. Measured are the router's processor time without a watcher and
with one and ten (as shares of a core), the browser's work for an update (of its main thread, drawing included), the
longest task, the time to the first paint, and what each request costs that is noted for who may look.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

HOSTS, INSTANCES, REQUESTS_S = 20, 200, 50
MODELS = 40


def serve(seed: int = 1) -> None:
    """Serve the scripted house until a signal; prints its port."""
    from tests.integration.scripted import scripted_console

    from enginehouse.assembly import build
    from enginehouse.config import Config, ModelConfig, PlacementConfig, ServerConfig
    from enginehouse.fleet.hosts.host import HostSnapshot
    from enginehouse.fleet.hosts.told import HostTold, ToldDevice, ToldMemory, ToldModel
    from enginehouse.http.server import listen
    from enginehouse.http.server import serve as serve_on
    from enginehouse.plugins import Plugins
    from enginehouse.telemetry import configure_logging
    from enginehouse_plugin import Device, RequestFacts

    configure_logging("json", "error")
    plugins = Plugins()
    plugins.add(scripted_console, "scripted")
    placement = PlacementConfig(backend="scripted", source="none", options=scripted_console.Options())
    config = Config(models={"m": ModelConfig(placements=(placement,))}, server=ServerConfig(port=0))
    house = build(config, plugins, devices=(Device(id="cpu", kind="cpu", name="CPU", memory_bytes=64 << 30),))
    fleet, recent = house.fleet, house.service.recent
    rng = random.Random(seed)
    real = fleet.snapshot
    template = real()
    (one,) = template.instances
    instances = {
        f"model-{at % MODELS}#{at // MODELS}": msgspec.structs.replace(
            one,
            state="ready",
            reason="loaded in 12.5 s",
            capacity=64,
            planned=msgspec.structs.replace(
                one.planned,
                id=f"model-{at % MODELS}#{at // MODELS}",
                model=f"model-{at % MODELS}",
                host=None if at % HOSTS == 0 else f"host-{at % HOSTS}",
            ),
        )
        for at in range(INSTANCES)
    }
    seen_at = time.monotonic()

    def snapshot() -> Any:
        nonlocal seen_at
        if fleet.is_draining:
            return real()
        now = time.monotonic()
        for _ in range(min(500, round((now - seen_at) * REQUESTS_S))):
            name = rng.choice(list(instances))
            instances[name] = msgspec.structs.replace(
                instances[name],
                running=rng.randrange(64),
                waiting=rng.randrange(8),
                tokens_s=rng.uniform(5, 90),
                cache_used=rng.random(),
            )
            recent.note(facts(name), "m", None)
        seen_at = now
        by_model: dict[str, list[Any]] = {}
        for each in instances.values():
            by_model.setdefault(each.planned.model, []).append(each)
        model = next(iter(template.models.values()))
        return msgspec.structs.replace(
            template,
            models={
                name: msgspec.structs.replace(model, name=name, instances=tuple(own)) for name, own in by_model.items()
            },
        )

    def facts(instance: str) -> RequestFacts:
        return RequestFacts(
            request_id="req-1", model="m", instance_id=instance, key=None, status=200, is_stream=True,
            is_cancelled=False, ttft_s=0.2, duration_s=2.0, prompt_tokens=900, cached_tokens=600,
            completion_tokens=200, finish_reasons=("stop",), error_code=None,
        )  # fmt: skip

    def memory() -> ToldMemory:
        others, measured = rng.randrange(8 << 30), rng.randrange(30 << 30)
        free = (80 << 30) - (32 << 30) - others
        return ToldMemory(others_bytes=others, reserved_bytes=32 << 30, measured_bytes=measured, free_bytes=free)

    def hosts() -> tuple[HostSnapshot, ...]:
        return tuple(
            HostSnapshot(
                name=f"host-{at}", url=f"http://host-{at}:8000", state="up", reason="answers",
                can_wake=False, age_s=0.5,
                told=HostTold(
                    version=1, enginehouse="0.1.0", router=str(at), state="ready",
                    devices=tuple(
                        ToldDevice(id=f"cuda:{n}", name="H100", memory_bytes=80 << 30, memory=memory())
                        for n in range(2)
                    ),
                    models={f"model-{at}-{n}": ToldModel(index=0, state="ready", capacity=64) for n in range(10)},
                ),
            )
            for at in range(1, HOSTS)
        )  # fmt: skip

    fleet.snapshot = snapshot  # type: ignore[method-assign]  # scripted
    fleet.hosts.snapshot = hosts  # type: ignore[method-assign]
    with listen("127.0.0.1", 0) as listener:
        print(listener.getsockname()[1], flush=True)
        serve_on(listener, house.app, fleet, house.live)
    house.close()


def spent_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def share(pid: int, seconds: float) -> float:
    """Of a core, over *seconds*."""
    before = spent_s(pid)
    time.sleep(seconds)
    return (spent_s(pid) - before) / seconds


def measure(port: int, pid: int, seconds: float, program: str) -> None:
    import httpx
    from playwright.sync_api import sync_playwright

    alone = share(pid, seconds)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(trust_env=False, headers={"x-enginehouse-console": "1"}, timeout=None) as client:

        def watched(count: int) -> float:
            from contextlib import ExitStack

            with ExitStack() as stack:
                for _ in range(count):
                    answer = stack.enter_context(client.stream("GET", f"{url}/console/events"))
                    assert answer.status_code == 200
                    from threading import Thread

                    Thread(target=lambda told=answer: drain(told), daemon=True).start()
                time.sleep(1)
                return share(pid, seconds)

        one, ten = watched(1), watched(10)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        cdp = page.context.new_cdp_session(page)
        cdp.send("Performance.enable")
        page.goto(f"{url}/console")
        page.wait_for_selector("table.instances tbody tr:nth-child(200)")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.wait_for_timeout(2000)
        page.evaluate(
            "window.longest = 0; new PerformanceObserver(list => list.getEntries().forEach("
            "one => { window.longest = Math.max(window.longest, one.duration); })).observe({type: 'longtask'})"
        )

        def work_s() -> float:
            return {each["name"]: each["value"] for each in cdp.send("Performance.getMetrics")["metrics"]}[
                "TaskDuration"
            ]

        before = work_s()
        page.wait_for_timeout(seconds * 1000)
        each_ms = (work_s() - before) / seconds * 1000
        longest = page.evaluate("window.longest")
        browser.close()
    print(f"router alone: {alone:.2%} of a core; one watcher more: {one - alone:.2%}; ten: {ten - alone:.2%}")
    told = f"{longest:.0f} ms" if longest else "under 50 ms"
    print(f"a request is noted in {noted_us():.2f} µs, where the console is on")
    print(f"browser: {each_ms:.0f} ms of work an update, longest task {told}; first paint after {paint:.0f} ms")


def noted_us() -> float:
    """Processor time in which one request is noted for who may look, the median of 30 rounds."""
    from enginehouse.accounts import Recent
    from enginehouse_plugin import RequestFacts

    recent, spent = Recent(), []
    facts = RequestFacts(
        request_id="req-1", model="m", instance_id="m#0", key="bob", status=200, is_stream=True, is_cancelled=False,
        ttft_s=0.2, duration_s=2.0, prompt_tokens=900, cached_tokens=600, completion_tokens=200,
        finish_reasons=("stop",), error_code=None,
    )  # fmt: skip
    for _ in range(30):
        began_s = time.thread_time()
        for _ in range(1000):
            recent.note(facts, "m", None)
        spent.append((time.thread_time() - began_s) * 1000)
    return sorted(spent)[15]


def drain(answer: Any) -> None:
    import contextlib

    with contextlib.suppress(Exception):
        for _ in answer.iter_raw():
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="that each figure is measured for")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve()
        return
    from tests.integration.console.conftest import NEEDED, chromium

    program = chromium()
    if program is None:
        raise SystemExit(NEEDED)
    command = [sys.executable, "-m", "tests.bench.console", "--serve"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        assert child.stdout is not None
        measure(int(child.stdout.readline()), child.pid, chosen.seconds, program)
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    main()
