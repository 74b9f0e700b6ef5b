"""The JSON-Schema-Test-Suite judged against the compiler: `python -m tests.schemas.suite FOLDER [FILES]`.

FOLDER is `json/tests/draft2020-12` of the source distribution of `jsonschema` (MIT). Each group of tests is enforced
(its valid instances are taken, its invalid ones are not), narrower (a valid instance is not taken), refused with
400, or unsound. llguidance compiles the same schemas by its own converter, in the same run.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llguidance

from enginehouse_kit.grammar import schema_form
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_kit.grammar.terms import whole
from enginehouse_plugin.errors import InvalidRequest

Takes = Callable[[str], bool]
SLOW_S = 1.0
_ORDERS = 24  # of an object's keys
_TOKENIZER = llguidance.LLTokenizer("byte")


def spellings(value: Any) -> Iterator[str]:  # Any: JSON
    """Texts of *value*: a grammar has its own order of keys."""
    if isinstance(value, dict):
        for order in itertools.islice(itertools.permutations(value), _ORDERS):
            below = [list(itertools.islice(spellings(value[key]), 4)) for key in order]
            for texts in itertools.islice(itertools.product(*below), 8):
                members = (f"{json.dumps(k, ensure_ascii=False)}:{text}" for k, text in zip(order, texts, strict=True))
                yield "{" + ",".join(members) + "}"
    elif isinstance(value, list):
        below = [list(itertools.islice(spellings(item), 4)) for item in value]
        for texts in itertools.islice(itertools.product(*below), 8):
            yield "[" + ",".join(texts) + "]"
    else:
        yield json.dumps(whole(value), ensure_ascii=False)


def ours(schema: Any) -> Takes:  # Any: JSON
    """Whether a text fits *schema*, by this project's compiler.

    Raises:
        InvalidRequest: it is refused.
    """
    grammar = schema_form(schema, "schema")

    def takes(text: str) -> bool:
        progress = GrammarProgress(grammar)
        return progress.read(text) and progress.may_end

    return takes


def llguidances(schema: Any) -> Takes:  # Any: JSON
    """Whether a text fits *schema*, by llguidance's.

    Raises:
        ValueError: it is refused.
    """
    options: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), options)
    matcher = llguidance.LLMatcher(_TOKENIZER, grammar, log_level=0)
    if matcher.get_error():
        raise ValueError(matcher.get_error())

    def takes(text: str) -> bool:
        ids = _TOKENIZER.tokenize_str(text)
        walked = matcher.deep_copy()
        return walked.try_consume_tokens(ids) == len(ids) and walked.is_accepting()

    return takes


def judged(group: dict[str, Any], compiled: Callable[[Any], Takes]) -> tuple[str, str]:  # Any: JSON
    """The verdict on one group, and its reason."""
    try:
        takes = compiled(group["schema"])
    except (InvalidRequest, ValueError) as refused:
        return "refused", str(refused)
    verdict = "enforced", ""
    for test in group["tests"]:
        taken = [text for text in spellings(test["data"]) if takes(text)]
        if taken and not test["valid"]:
            return "unsound", f"{test['description']}: {taken[0]}"
        if test["valid"] and not taken:
            verdict = "narrower", test["description"]
    return verdict


def main() -> int:
    """Judge all groups; the exit status is 1 if one is unsound or slow."""
    folder = Path(sys.argv[1])
    counts: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    slowest = 0.0
    for file in sorted(folder.rglob(sys.argv[2] if len(sys.argv) > 2 else "*.json")):
        of_file: Counter[str] = Counter()
        reasons = []
        for group in json.loads(file.read_text()):
            began = time.process_time()
            verdict, reason = judged(group, ours)
            slowest = max(slowest, time.process_time() - began)
            of_file[verdict] += 1
            if verdict != "enforced":
                reasons.append(f"    {verdict}: {group['description']}: {reason[:110]}")
            beside[judged(group, llguidances)[0]] += 1
        counts += of_file
        print(f"{file.relative_to(folder)}: {dict(of_file)}", *reasons, sep="\n")
    print(f"\nEnginehouse, of {counts.total()}: {dict(counts)}; slowest {slowest:.2f} s\nllguidance: {dict(beside)}")
    return int(counts["unsound"] > 0 or slowest > SLOW_S)


if __name__ == "__main__":
    sys.exit(main())
