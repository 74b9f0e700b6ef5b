"""`make bench`: the router's own cost beside its peers, in interleaved rounds of one run.

Per server: processor time per request of its whole process tree, latency added to the upstream's own
(one connection), resident memory under load; for a plain request and for a stream of 64 chunks 5 ms apart.
Prints Markdown tables of medians with their spread (least and most of the rounds), ratios of the same round, and how
they stand to the bars. Enginehouse has keys, usage, metrics and its log line switched on; with `--server` that of
another environment is measured beside, as `make bench` does with compiled wheels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench import load, peers
from tests.bench.figures import spread

Servers = dict[str, tuple[int, int]]
Figures = dict[str, dict[str, list[float]]]
"""By server and by what is measured: a value for each round."""
PEERS = ("nginx", "vllm-router", "vllm-router round robin", "enginehouse")
COMPILED, OTHER = "enginehouse, compiled", "enginehouse of --server"
BASES = ("vllm-router", "vllm-router round robin", "nginx")
PLAIN, STREAM = "Plain request", "Stream of 64 chunks, 5 ms apart"
BARS = (
    (PLAIN, "vllm-router", 0.6),
    (PLAIN, "vllm-router round robin", 1.0),
    (STREAM, "vllm-router round robin", 0.9),
)
GOALS = ((PLAIN, "nginx", 2.5), (STREAM, "nginx", 2.5))


def measure(servers: Servers, folder: Path, *, rounds: int, seconds: int, stream: bool) -> Figures:
    """Run every server once per round, each round in another order; figures per server, one value a round."""
    script = load.write_script(folder, stream=stream)
    names = list(servers)
    figures: Figures = {name: {"processor_us": [], "p50_ms": [], "p99_ms": [], "resident_mib": []} for name in names}
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


def ratios(figures: Figures, name: str, base: str) -> list[float]:
    """Processor time per request of *name* to that of *base* in the same round."""
    pairs = zip(figures[name]["processor_us"], figures[base]["processor_us"], strict=True)
    return [own / other for own, other in pairs]


def table(title: str, figures: Figures) -> str:
    direct = figures["direct"]
    compared = " | ".join(f"ratio to {base}" for base in BASES)
    rows = [
        f"**{title}**\n",
        f"| server | processor, µs per request | {compared} | added p50, ms | added p99, ms | resident, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in figures:
        if name == "direct":
            continue
        row = figures[name]
        compared = " | ".join(spread(ratios(figures, name, base), 2) for base in BASES)
        p50, p99 = (
            spread([own - alone for own, alone in zip(row[key], direct[key], strict=True)], 2)
            for key in ("p50_ms", "p99_ms")
        )
        rows.append(
            f"| {name} | {spread(row['processor_us'])} | {compared} | {p50} | {p99} | {spread(row['resident_mib'])} |"
        )
    return "\n".join(rows)


def standing(results: dict[str, Figures]) -> str:
    """Each bar and goal beside the median ratio."""
    lines = []
    for name in (COMPILED, "enginehouse", OTHER):
        for word, marks in (("bar", BARS), ("goal", GOALS)):
            for title, base, most in marks:
                if name in results[title]:
                    found = statistics.median(ratios(results[title], name, base))
                    verdict = "met" if found <= most else "missed"
                    lines.append(f"- {title}: {name} takes {found:.2f} of {base}; the {word} of {most:g} is {verdict}.")
    return "\n".join(lines)


def start_figures(rounds: int) -> str:
    """Seconds from the start of the router, without engine, to its first answered /health, and memory then."""
    seconds, memory = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, peers.enginehouse(Path(folder), None) as (_, pid, start_s):
            seconds.append(start_s)
            memory.append(load.resident_mib(pid))
    return f"Start to first `/health`, no engine: {spread(seconds, 2)} s; resident memory then: {spread(memory)} MiB."


def is_compiled(program: Path) -> bool:
    """Whether the environment of *program* has compiled wheels."""
    code = "import enginehouse.http.connection as module; print(module.__file__)"
    done = subprocess.run([program.with_name("python"), "-c", code], check=True, capture_output=True, text=True)
    return not done.stdout.strip().endswith(".py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of load per server and round")
    parser.add_argument("--server", type=Path, help="program `enginehouse` of another environment, measured beside")
    parser.add_argument("--json", type=Path, help="also write the raw figures here")
    chosen = parser.parse_args()
    peers.require("nginx", "wrk")
    print(start_figures(chosen.rounds), flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at = {name: folder / name for name in ("direct", *PEERS, "other")}
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
        if chosen.server:
            program = chosen.server.absolute()
            server = peers.enginehouse(at["other"], upstream_port, program=str(program))
            servers[COMPILED if is_compiled(program) else OTHER] = stack.enter_context(server)[:2]
        results: dict[str, Figures] = {}
        for title in (PLAIN, STREAM):
            results[title] = measure(
                servers, folder, rounds=chosen.rounds, seconds=chosen.seconds, stream=title == STREAM
            )
            print("\n" + table(title, results[title]), flush=True)
    print("\n" + standing(results))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
