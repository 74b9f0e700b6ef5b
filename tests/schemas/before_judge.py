"""The compiler as it was before schemas were read as the standard reads them: a schema a line in, GBNF (or null) out.

Run with that commit's `plugins/kit` and `plugins/contract` on the path.
"""

from __future__ import annotations

import json
import sys

from enginehouse_kit.grammar import schema_grammar  # type: ignore[attr-defined]  # of the older commit
from enginehouse_plugin.errors import InvalidRequest


def main() -> None:
    """Answer line by line."""
    for line in sys.stdin:
        try:
            found = schema_grammar(json.loads(line), "schema")
        except (InvalidRequest, RecursionError):
            found = None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
