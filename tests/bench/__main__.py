"""`make bench`: the router's own cost beside its peers, in interleaved rounds of one run.

Per server: processor time per request of its whole process tree, latency added to the upstream's own
(one connection), resident memory under load; for a plain request and for a stream of 64 chunks 5 ms apart.
Prints Markdown tables of medians with their spread (least and most of the rounds).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench import load, peers
from tests.bench.figures import spread

Servers = dict[str, tuple[int, int]]
PEERS = ("nginx", "vllm-router", "vllm-router round robin", "enginehouse")


def measure(
    servers: Servers, folder: Path, *, rounds: int, seconds: int, stream: bool
) -> dict[str, dict[str, list[float]]]:
    """Run every server once per round, each round in another order; figures per server, one value a round."""
    script = load.write_script(folder, stream=stream)
    names = list(servers)
    figures: dict[str, dict[str, list[float]]] = {
        name: {"processor_us": [], "p50_ms": [], "p99_ms": [], "resident_mib": []} for name in names
    }
    for name in names:
        load.run_wrk(*servers[name], script, connections=8, duration_s=1)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            port, pid = servers[name]
            busy = load.run_wrk(port, pid, script, connections=16, duration_s=seconds)
            alone = load.run_wrk(port, pid, script, connections=1, duration_s=max(2, seconds // 2))
            row = figures[name]
            row["processor_us"].append(busy.processor_us_per_request)
            row["resident_mib"].append(busy.resident_mib)
            row["p50_ms"].append(alone.p50_ms)
            row["p99_ms"].append(alone.p99_ms)
            print(f"  round {turn + 1}/{rounds} {name}: {busy.processor_us_per_request:.0f} us", file=sys.stderr)
    return figures


def table(title: str, figures: dict[str, dict[str, list[float]]]) -> str:
    base = figures["direct"]
    rows = [
        f"**{title}**\n",
        "| server | processor, µs per request | ratio to vllm-router | added p50, ms | added p99, ms | resident, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name in PEERS:
        row = figures[name]
        ratios = [a / b for a, b in zip(row["processor_us"], figures["vllm-router"]["processor_us"], strict=True)]
        added: Callable[[str], str] = lambda key, row=row: spread(  # noqa: E731
            [a - b for a, b in zip(row[key], base[key], strict=True)], 2
        )
        rows.append(
            f"| {name} | {spread(row['processor_us'])} | {spread(ratios, 2)} | {added('p50_ms')} | {added('p99_ms')} "
            f"| {spread(row['resident_mib'])} |"
        )
    return "\n".join(rows)


def start_figures(rounds: int) -> str:
    """Seconds from the start of the router, without engine, to its first answered /health, and memory then."""
    seconds, memory = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, peers.enginehouse(Path(folder), None) as (_, pid, start_s):
            seconds.append(start_s)
            memory.append(load.resident_mib(pid))
    return f"Start to first `/health`, no engine: {spread(seconds, 2)} s; resident memory then: {spread(memory)} MiB."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of load per server and round")
    parser.add_argument("--json", type=Path, help="also write the raw figures here")
    chosen = parser.parse_args()
    print(start_figures(chosen.rounds), flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at = {name: folder / name for name in ("direct", *PEERS)}
        for path in at.values():
            path.mkdir()
        upstream_port, upstream_pid = stack.enter_context(peers.upstream(at["direct"]))
        servers: Servers = {
            "direct": (upstream_port, upstream_pid),
            "nginx": stack.enter_context(peers.nginx(at["nginx"], upstream_port)),
            # As it comes, and with its cheapest policy: with one upstream they choose the same.
            "vllm-router": stack.enter_context(peers.vllm_router(at["vllm-router"], upstream_port)),
            "vllm-router round robin": stack.enter_context(
                peers.vllm_router(at["vllm-router round robin"], upstream_port, "--policy", "round_robin")
            ),
            "enginehouse": stack.enter_context(peers.enginehouse(at["enginehouse"], upstream_port))[:2],
        }
        results = {}
        for title, stream in (("Plain request", False), ("Stream of 64 chunks, 5 ms apart", True)):
            results[title] = measure(servers, folder, rounds=chosen.rounds, seconds=chosen.seconds, stream=stream)
            print("\n" + table(title, results[title]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
