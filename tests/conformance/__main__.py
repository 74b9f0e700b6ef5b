"""`make conformance`: the whole conformance suite on each engine of this repository, and a report of each.

Every engine runs on the same weights in float32, either under the plugin contract, where the rules about HTTP do not
apply, or behind the whole server. It must have all that conformance/reports/features.toml lists. The reports are
written to conformance/reports/ENGINE-WEIGHTS, those over HTTP to ENGINE-WEIGHTS-http, or with the rules of all
endpoints but chat to ENGINE-WEIGHTS-endpoints, with those of models for vectors to ENGINE-WEIGHTS-embeddings and with
those of rerankers to ENGINE-WEIGHTS-rerank;
`python -m tests.conformance.table` puts them side by side in docs/engines.md.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from pathlib import Path
from typing import get_args

from tests.conformance.engines import (
    ENGINES,
    REPORTS,
    WANTED,
    Missing,
    Way,
    Weights,
    endpoints_of,
    folder_of,
    target_of,
)
from tests.integration.served import LoopBlocked

from enginehouse_conformance import (
    ENDPOINTS,
    PROFILES,
    Options,
    Report,
    SelectionError,
    Target,
    exit_code,
    progress_for,
    run_suite,
    select,
    selected_rules,
    summary_text,
    write_report,
)

_CUT_SHORT = 2


def main() -> int:
    given = _arguments()
    try:
        only = select(given.rules.split(",")) if given.rules else None
    except SelectionError as exc:
        print(f"--rules: {exc}", file=sys.stderr)
        return _CUT_SHORT
    codes = []
    for name in given.engines or ENGINES:
        print(f"{name} on {given.weights} weights: loading", file=sys.stderr)
        options = Options(
            profile=given.profile,
            seed=given.seed,
            only=only,
            endpoints=endpoints_of(given.over),
            concurrency=given.concurrency,
            check_timeout_s=given.timeout,
            time_scale=given.time_scale,
            reproduce=_command(name, given),
        )
        try:
            with target_of(name, given.weights, given.over, given.profile) as target:
                # Written while the target is up: what its end tells about it costs no report.
                codes.append(_reported(name, given, _watched(target, options)))
        except Missing as exc:
            print(f"{name}: left out: {exc}", file=sys.stderr)
            codes.append(_CUT_SHORT if given.engines else 0)
        except LoopBlocked as exc:
            print(f"{name}: {exc}", file=sys.stderr)
            codes.append(1)
    return max(codes)


def _reported(name: str, given: argparse.Namespace, report: Report) -> int:
    """Show and write *report*; returns the run's exit code."""
    folder = (given.into or REPORTS) / folder_of(name, given.weights, given.over, given.profile)
    print(f"{folder.name}:\n{summary_text(report)}")
    # A run of some rules, or one that was cut short, must not take the place of a whole one.
    is_meant = not report.summary.partial or (endpoints_of(given.over) is not None and not given.rules)
    if given.into or (report.fault is None and is_meant):
        write_report(report, folder, is_compact=True)
    is_for_texts = given.over in ENDPOINTS
    return max(exit_code(report), 0 if is_for_texts else _undeclared(name, report))


def _watched(target: Target, options: Options) -> Report:
    with progress_for(selected_rules(options)) as progress:
        return asyncio.run(run_suite(target, options, on_start=progress.start, on_result=progress.result))


def _undeclared(name: str, report: Report) -> int:
    """1, and a line that says so, where something that every engine must declare is not declared."""
    absent = set(WANTED.present()) - set(report.features)
    absent |= {
        f"{limit} up to {least}" for limit, least in WANTED.limits.items() if report.declared.limits[limit] < least
    }
    if absent and report.fault is None:
        print(f"{name} does not declare what every engine must: {', '.join(sorted(absent))}", file=sys.stderr)
        return 1
    return 0


def _command(name: str, given: argparse.Namespace) -> str:
    words = ["python", "-m", "tests.conformance", name, "--weights", given.weights, "--over", given.over]
    words += [] if given.profile == "openai" else ["--profile", given.profile]
    words += ["--seed", str(given.seed)]
    words += ["--rules", given.rules] if given.rules else []
    words += ["--concurrency", str(given.concurrency), "--timeout", f"{given.timeout:g}"]
    return shlex.join([*words, "--time-scale", f"{given.time_scale:g}"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engines", metavar="ENGINE", nargs="*", help=", ".join(ENGINES))
    parser.add_argument("--weights", choices=get_args(Weights), default="tiny", help="random and tiny, or SmolLM2-135M")
    parser.add_argument("--over", choices=get_args(Way), default="contract", help="what is asked: see above")
    parser.add_argument("--profile", choices=list(PROFILES), default="openai", help="the API that is asked, over HTTP")
    parser.add_argument("--rules", help="only these rules: ids, sections or patterns, with commas; a partial report")
    parser.add_argument("--seed", type=int, default=0, help="of nonces and prompts")
    parser.add_argument("--concurrency", type=int, default=4, help="checks at a time")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for a check")
    parser.add_argument(
        "--time-scale", type=float, default=1.0, help="multiplies times that rules allow: for a busy machine"
    )
    parser.add_argument(
        "--into", type=Path, help="folder for the reports, also partial ones; default: conformance/reports"
    )
    given = parser.parse_args()
    if given.profile != "openai" and given.over != "http":
        parser.error("a profile is asked over HTTP: --over http")
    for name in given.engines:
        if name not in ENGINES:
            parser.error(f"there is no engine '{name}'; there are: {', '.join(ENGINES)}")
    return given


if __name__ == "__main__":
    sys.exit(main())
