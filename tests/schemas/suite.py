"""The JSON-Schema-Test-Suite judged against the compiler: `python -m tests.schemas.suite FOLDER [FILES]`.

FOLDER is `json/tests/draft2020-12` of the source distribution of `jsonschema` (MIT). Each group of tests is enforced
(its valid instances are taken, its invalid ones are not), narrower (a valid instance is not taken), refused with
400, or unsound. In the same run the compiler as it was before, and llguidance's and xgrammar's own converters, judge
the same.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from enginehouse_kit.grammar import schema_form
from enginehouse_plugin.errors import InvalidRequest

from .beside import OWN, judges, verdict
from .table import ALL, Table

SLOW_S = 1.0


def reason(schema: Any) -> str:  # Any: JSON
    """Why *schema* is refused."""
    try:
        schema_form(schema, "schema")
    except InvalidRequest as refused:
        return refused.message
    return ""


def main() -> int:
    """Judge all groups; the exit status is 1 if one is unsound or slow."""
    folder = Path(sys.argv[1])
    slowest = 0.0
    with judges() as all_judges:
        table = Table(all_judges)
        for file in sorted(folder.rglob(sys.argv[2] if len(sys.argv) > 2 else "*.json")):
            lines = []
            for group in json.loads(file.read_text()):
                instances = [(test["data"], test["valid"]) for test in group["tests"]]
                for name, judge in all_judges.items():
                    began = time.process_time()
                    found, shown = verdict(judge, group["schema"], instances)
                    table.add((file.stem, ALL), name, found)
                    if name != OWN:
                        continue
                    slowest = max(slowest, time.process_time() - began)
                    if found != "enforced":
                        why = reason(group["schema"]) or json.dumps(shown)
                        lines.append(f"{file.stem}: {found}: {group['description']}: {why[:110]}")
            print(*lines, sep="\n", end="\n" if lines else "")
    print(*table.lines("test suite, by file"), sep="\n")
    print(f"slowest {slowest:.2f} s")
    return int(table.counts(ALL, OWN)["unsound"] > 0 or slowest > SLOW_S)


if __name__ == "__main__":
    sys.exit(main())
