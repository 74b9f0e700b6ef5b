"""Judge by xgrammar, in vLLM's environment: a line `{"schema", "texts"}` in, which texts fit (or null) out.

Or `{"grammar", "texts"}`: a schema is converted by xgrammar itself, a grammar is read as it is.
"""

from __future__ import annotations

import json
import sys

import xgrammar  # type: ignore[import-not-found]  # lives in vLLM's environment alone
from xgrammar.testing import _is_grammar_accept_string  # type: ignore[import-not-found]


def main() -> None:
    """Answer line by line."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "grammar" in asked:
                grammar = xgrammar.Grammar.from_ebnf(asked["grammar"])
            else:
                grammar = xgrammar.Grammar.from_json_schema(json.dumps(asked["schema"]), strict_mode=False)
            found = [_is_grammar_accept_string(grammar, text) for text in asked["texts"]]
        except RuntimeError:
            found = None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
