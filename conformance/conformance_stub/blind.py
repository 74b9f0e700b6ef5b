"""A round of blind faults: each is put before the stub, as a proxy would, and the suite says whether it sees it.

    python -m conformance_stub.blind FOLDER

A fault is a Python file. Its docstring says what is wrong; it has one or more of these functions, or a class `Fault`
that is a `Behaviour`. *body* is the request as the client sent it.

    def request(body): return body                 # the request as the server gets it
    def answer(answer, body): return answer        # a JSON answer
    def chunks(chunks, body): return chunks        # the chunks of one step of a stream, a list
    def error(status, error, body): return status, error
    def models(models): return models              # the answer of the models route

`raise Rejected("message", param="field")` in `request` refuses. State lives in the module, which is loaded once a run.
Where one of these functions breaks, what it was given passes unchanged: a mistake in a fault must not show as one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import runpy
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from enginehouse_conformance.results import Report
from enginehouse_conformance.verdicts import Verdict

from .behaviour import Behaviour
from .fields import Body
from .trial import run_on_stub
from .wire_parts import Rejected

_ENDS_S = 120.0
_sent: ContextVar[Body] = ContextVar("sent")


class Proxied(Behaviour):
    """The stub behind a proxy whose *functions* change what passes."""

    def __init__(self, functions: dict[str, Any]) -> None:
        self._functions = functions

    def _through(self, name: str, *passing: Any) -> Any:
        unchanged = copy.deepcopy(passing[0])
        function: Callable[..., Any] | None = self._functions.get(name)
        if function is None:
            return unchanged
        try:
            return function(*passing)
        except Rejected:
            raise
        except Exception:  # noqa: BLE001  # whatever a fault's own mistake is
            return unchanged

    def decode(self, data: bytes) -> Body:
        """The body as the fault leaves it; as it was sent it stays known."""
        _sent.set(super().decode(data))
        changed: Body = self._through("request", super().decode(data))
        return changed

    def answer(self, answer: Body, body: Body) -> Body:
        """Through `answer`."""
        changed: Body = self._through("answer", super().answer(answer, body), _sent.get())
        return changed

    def chunks(self, chunks: list[Body], body: Body) -> list[Body]:
        """Through `chunks`."""
        changed: list[Body] = self._through("chunks", super().chunks(chunks, body), _sent.get())
        return changed

    def error(
        self, status: int, error: Body, headers: list[tuple[str, str]]
    ) -> tuple[int, Body, list[tuple[str, str]]]:
        """Through `error`."""
        if "error" in self._functions:
            with contextlib.suppress(Exception):
                status, error = self._functions["error"](status, copy.deepcopy(error), _sent.get({}))
        return status, error, headers

    def models(self) -> Body:
        """Through `models`."""
        changed: Body = self._through("models", super().models())
        return changed


def load(path: Path) -> tuple[str, Behaviour]:
    """What the fault in the file *path* is, in its own words, and the stub with it."""
    names = runpy.run_path(str(path))
    behaviour = names["Fault"]() if "Fault" in names else Proxied(names)
    return " ".join((names.get("__doc__") or path.stem).split()), behaviour


def said_of(report: Report) -> tuple[str, list[str]]:
    """`MUST` or `SHOULD` where a rule of that level fails, `missed` where none does; and the rules."""
    failed = [result for result in report.results if result.verdict is Verdict.FAIL]
    levels = {result.level for result in failed}
    how = "MUST" if "MUST" in levels else "SHOULD" if levels else "missed"
    others = [
        f"{result.rule} ({result.verdict.value})"
        for result in report.results
        if result.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE)
    ]
    return how, [result.rule for result in failed] or others


def main() -> int:
    """Run the round and print a line for each fault, then the share that was caught."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance_stub.blind", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("faults", type=Path, nargs="+", help="files, or folders of them")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    files = [file for path in given.faults for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    how, rules = said_of(asyncio.run(run_on_stub(seed=given.seed, check_timeout_s=_ENDS_S)))
    if rules:
        print(f"The stub by itself does not pass: {', '.join(rules)}", file=sys.stderr)
        return 2
    found: list[str] = []
    for file in files:
        fault, behaviour = load(file)
        how, rules = said_of(asyncio.run(run_on_stub(behaviour, seed=given.seed, check_timeout_s=_ENDS_S)))
        found.append(how)
        print(f"{how:7} {file.stem}: {fault} [{', '.join(rules)}]", flush=True)
    caught = sum(how != "missed" for how in found)
    share = 100 * caught / max(1, len(found))
    print(f"{caught} of {len(found)} caught ({share:.0f} %), {found.count('MUST')} by a MUST rule; no false alarm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
