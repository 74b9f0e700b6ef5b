"""`python -m tests.bench.accounts`: what accounts add to a plain request of a whole server, in processor time.

Servers stand side by side in front of the same instant upstream: without accounts; with keys of the database, and a row
of usage for each request; with a scope and all four limits beside; and with everything, so credit and a monthly budget,
too. Rounds are interleaved, each in another order. Prints medians with their spread, and the differences within the
same round. The time is that of the whole process: the ledger's thread is in it, which writes rows and charges. Those
that end together are committed together, so that what a row costs depends on how many requests are under way.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import load, peers
from tests.bench.figures import spread
from tests.programs import free_port, running

from enginehouse.accounts import Desk, Scope
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.config import Limits, load_config

_COMPILED = Path(__file__).parents[2] / ".cache/compiled/venv/bin/enginehouse"
_WITHOUT, _KEYS, _LIMITS, _ALL = "without", "keys and usage", "scope and limits beside", "everything"
LEVELS = (_WITHOUT, _KEYS, _LIMITS, _ALL)
_MUCH = 10**9
"""More than a run takes, and a number as owners write it: larger ones take longer to add and to write."""
_SERVER = "[server]\nport = {port}\n"
_ACCOUNTS = '\n[accounts]\nurl = "sqlite:///accounts.db"\nkeys = true\ncredits = "{credits}"\n'
_PRICES = '\n[models.m.prices]\ninput = "0.15"\ncached = "0.075"\noutput = "0.6"\n'


def prepare(folder: Path, level: str, port: int, upstream_port: int) -> tuple[Path, str]:
    """Write the configuration of *level*, and what its accounts hold; returns it and the key to ask with."""
    text = _SERVER.format(port=port) + peers.MODEL.format(port=upstream_port)
    if level != _WITHOUT:
        text += _ACCOUNTS.format(credits="all" if level == _ALL else "granted")
    if level == _ALL:
        text += _PRICES
    config_file = folder / "enginehouse.toml"
    config_file.write_text(text)
    secret = load.KEY
    if level != _WITHOUT:
        config = load_config(config_file)
        is_bounded = level in (_LIMITS, _ALL)
        scope = Scope(models=("m",), endpoints=("chat",), profiles=("openai",)) if is_bounded else Scope()
        limits = Limits(
            requests_per_minute=_MUCH, tokens_per_minute=_MUCH, tokens_per_day=_MUCH, concurrent_requests=_MUCH
        )
        _, secret = Desk(config).create("bench", scope, limits=limits if is_bounded else None)
    if level == _ALL:
        desk = CreditDesk(config)
        desk.grant("bench", "1000000")
        desk.bound("bench", "1000000")
    return config_file, secret


@contextmanager
def router(folder: Path, level: str, upstream_port: int, program: Path) -> Iterator[tuple[int, int, Path]]:
    """A router of *program* with the accounts of *level*; yields its port, its process id and wrk's script."""
    folder.mkdir(parents=True)
    port = free_port()
    config_file, secret = prepare(folder, level, port, upstream_port)
    script = load.write_script(folder, stream=False)
    script.write_text(script.read_text().replace(load.KEY, secret))
    env = {"PYTHONPATH": str(peers.install_plugin(folder))}
    argv = [str(program), "serve", "--config", str(config_file), "--log-format", "json"]
    with running(argv, folder, "enginehouse", env) as process:
        peers.wait_answer(f"http://127.0.0.1:{port}/ready", process)
        yield port, process.pid, script


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.accounts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4, help="of load per server and round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--server", type=Path, help="program `enginehouse` of another environment, measured beside")
    chosen = parser.parse_args()
    programs = {"as installed": Path(sys.executable).with_name("enginehouse")}
    if (other := chosen.server or _COMPILED).exists():
        programs["the other" if chosen.server else "compiled"] = other.absolute()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port, _ = stack.enter_context(peers.upstream(folder))
        routers = {
            (label, level): stack.enter_context(router(folder / label / level, level, upstream_port, program))
            for label, program in programs.items()
            for level in LEVELS
        }
        figures: dict[tuple[str, str], list[float]] = {each: [] for each in routers}
        names = list(routers)
        for turn in range(-1, chosen.rounds):  # the first is for warming up
            at = turn % len(names)
            for each in names[at:] + names[:at]:
                port, pid, script = routers[each]
                sample = load.run_wrk(
                    port, pid, script, connections=chosen.connections, duration_s=chosen.seconds if turn >= 0 else 1
                )
                if turn >= 0:
                    figures[each].append(sample.processor_us_per_request)
            print(f"round {turn + 1} of {chosen.rounds}", file=sys.stderr)
    print("| | accounts | processor, µs per request | more than without | more than with keys and usage |")
    print("|---|---|---|---|---|")
    for (label, level), values in figures.items():
        more = [
            spread([value - base for value, base in zip(values, figures[label, than], strict=True)], 1)
            if LEVELS.index(level) > LEVELS.index(than)
            else ""
            for than in (_WITHOUT, _KEYS)
        ]
        print(f"| {label} | {level} | {spread(values, 1)} | {more[0]} | {more[1]} |")


if __name__ == "__main__":
    main()
