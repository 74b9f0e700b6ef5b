"""The suite on an engine behind one server, and on the same engine through another: no MUST verdict may be worse.

    python -m tests.conformance.through --rules CORE,STOP*

The ways: `direct` is the server that has the engine (llama.cpp on tiny weights), `upstream` one that has it as an
upstream, and `host` an entry that has the other as a host and the model there alone. What is asked is chat, or with
`--over` what `python -m tests.conformance` calls so. Prints what is worse, and ends with 1 if something is. Reports go
to a folder of each way in `--into`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from tests.conformance.engines import (
    CONTEXT_OF_TEXTS,
    CONTEXT_TOKENS,
    ENGINES,
    MODELS,
    TASKS,
    Way,
    declared_of,
    endpoints_of,
)
from tests.hosts.machines import KEY, Machine, closing, until
from tests.programs import free_port

from enginehouse.accounts import hash_secret
from enginehouse_conformance import Options, Report, UrlTarget, run_suite, select, summary_text, write_report

ENGINE = "llamacpp"
MODEL = MODELS["tiny"]
WAYS = ("direct", "upstream", "host")
_READY_S = 300.0
_FAILED = ("fail", "error")


class Worse(msgspec.Struct, frozen=True):
    """A MUST rule whose verdict is worse by a *way*, and what was said of it."""

    way: str
    rule: str
    direct: str
    through: str
    message: str


def worse(reports: Mapping[str, Report]) -> list[Worse]:
    """What is worse in each of *reports*, by their ways, than in that of `direct`.

    A rule that fails directly, too, may end in any way; one that passes there has to pass, and one that does not apply
    there must not fail.
    """
    direct = {result.rule: result for result in reports["direct"].results if result.level == "MUST"}
    found: list[Worse] = []
    for way, report in reports.items():
        through = {result.rule: result for result in report.results}
        for rule, own in direct.items():
            other = through.get(rule)
            verdict = "not run" if other is None else other.verdict.value
            has_failed = verdict in ("fail", "error", "not run")
            is_worse = verdict != "pass" if own.verdict == "pass" else has_failed and own.verdict not in _FAILED
            if is_worse:
                found.append(Worse(way, rule, own.verdict.value, verdict, "" if other is None else other.message))
    return found


def _engine(over: Way) -> str:
    engine = ENGINES[ENGINE]
    path = engine.ranks() if over == "rerank" and engine.ranks else engine.paths["tiny"]()
    given = {**engine.options, **({"pooling": "mean"} if over == "embeddings" else {})}
    options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    return f'{{ backend = "{ENGINE}", source = {json.dumps(str(path))}, options = {{ {options} }} }}'


def _file(over: Way, placement: str, hosts: str = "") -> str:
    key = f'[[keys]]\nname = "fleet"\nadmin = true\nsha256 = "{hash_secret(KEY)}"\n'
    task = f'task = "{TASKS[over]}"\n' if over in TASKS else ""
    context_tokens = CONTEXT_OF_TEXTS if over in TASKS else CONTEXT_TOKENS["tiny"]
    model = f"[models.{MODEL}]\n{task}context_tokens = {context_tokens}\nplacements = [{placement}]\n"
    return f'{key}{hosts}{model}[[mounts]]\nprofile = "ollama"\npath = "/"\n'


@contextlib.asynccontextmanager
async def servers(folder: Path, ways: Sequence[str], over: Way) -> AsyncIterator[dict[str, Machine]]:
    """The server of each of *ways* with what is asked *over* it, ready; `direct` is always among them."""
    plugins = {"direct": [ENGINE, "upstream"], "upstream": ["upstream"], "host": ["upstream"]}
    made = {
        way: Machine(way, folder / way, ("127.0.0.1", free_port()), plugins[way])
        for way in WAYS
        if way in ways or way == "direct"
    }
    urls = {way: f"http://127.0.0.1:{machine.address[1]}" for way, machine in made.items()}
    hosts = "".join(
        f'[hosts.{way}]\nurl = "{urls[way]}"\nkey_env = "FLEET_KEY"\n' for way in ("direct", "host") if way in urls
    )
    away = f'{{ backend = "upstream", source = "{urls["direct"]}", options = {{ key_env = "FLEET_KEY" }} }}'
    own = _file(over, _engine(over), hosts)
    files = {"direct": own, "upstream": _file(over, away), "host": own}
    async with closing(list(made.values())):
        for way, machine in made.items():
            await machine.start(files[way])

            async def is_ready(machine: Machine = machine) -> bool:
                return (await machine.states()).get(MODEL) == "ready"

            await until(is_ready, f"{way} is ready\n{machine.log()[-3000:]}", timeout_s=_READY_S)
        yield made


async def run(folder: Path, options: Options, ways: Sequence[str], over: Way) -> dict[str, Report]:
    """The suite's report of each of *ways*, `direct` first."""
    reports: dict[str, Report] = {}
    async with servers(folder, ways, over) as made:
        for way, machine in made.items():
            target = UrlTarget(
                f"http://127.0.0.1:{machine.address[1]}/v1",
                model=MODEL,
                key=KEY,
                declared=declared_of(ENGINE, "tiny", over),
                timeout_s=_READY_S,
            )
            reports[way] = await run_suite(target, options)
            print(f"{way}: {summary_text(reports[way])}", flush=True)
    return reports


def main() -> int:
    """Run, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.through",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rules", help="only these rules: ids, sections or patterns, with commas")
    parser.add_argument("--over", choices=["http", "endpoints", *TASKS], default="http", help="what is asked")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for a check")
    parser.add_argument("--time-scale", type=float, default=1.0, help="multiplies times that rules allow")
    parser.add_argument("--concurrency", type=int, default=4, help="checks at a time")
    parser.add_argument("--into", type=Path, help="folder for the reports")
    given = parser.parse_args()
    options = Options(
        only=select(given.rules.split(",")) if given.rules else None,
        endpoints=endpoints_of(given.over),
        check_timeout_s=given.timeout,
        time_scale=given.time_scale,
        concurrency=given.concurrency,
    )
    with tempfile.TemporaryDirectory(prefix="through-") as folder:
        reports = asyncio.run(run(Path(folder), options, given.ways, given.over))
    for way, report in reports.items():
        if given.into is not None:
            write_report(report, given.into / way, is_compact=True)
    found = worse(reports)
    for one in found:
        print(f"{one.way}: {one.rule} is {one.through}, directly {one.direct}: {one.message}")
    must = {way: report.summary.must for way, report in reports.items()}
    told = ", ".join(f"{way} {count.passed} of {count.total}" for way, count in must.items())
    print(f"MUST rules that pass: {told}; {len(found)} worse")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
