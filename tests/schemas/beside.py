"""Compilers of JSON Schema side by side: this project's, as it is and as it was, llguidance's and xgrammar's.

A compiler here takes a schema and texts, and says of each text whether it fits; None: it refuses the schema.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llguidance
from llguidance.gbnf_to_lark import any_to_lark

from enginehouse_kit.grammar import schema_form
from enginehouse_kit.grammar.lark import lark
from enginehouse_kit.grammar.terms import whole
from enginehouse_plugin.errors import InvalidRequest

Judge = Callable[[Any, list[str]], list[bool] | None]

OWN = "Enginehouse"
_BEFORE = Path(".cache/schemas/before")
_ORDERS = 24  # of an object's keys
_TOKENIZER = llguidance.LLTokenizer("byte")
_JUDGE = Path(__file__).with_name("xgrammar_judge.py")


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


def enginehouse(schema: Any, texts: list[str]) -> list[bool] | None:  # Any: JSON
    """This project's compiler, its grammar followed by llguidance."""
    try:
        return _followed(_grammar(schema), texts)
    except InvalidRequest:
        return None


def has_begun(schema: Any, text: str) -> bool:  # Any: JSON
    """Whether *text* is the beginning of one that this project's grammar of *schema* takes."""
    ids = tokens(text)
    return matcher(schema).try_consume_tokens(ids) == len(ids)


def _grammar(schema: Any) -> str:  # Any: JSON
    lines = ['%llguidance {"no_forcing": true}', "start: answer", *lark(schema_form(schema, "schema"), "answer")]
    return "\n".join(lines)


def by_llguidance(schema: Any, texts: list[str]) -> list[bool] | None:  # Any: JSON
    """llguidance's own converter."""
    options: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
    try:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), options)
    except ValueError:
        return None
    return _followed(grammar, texts)


def tokens(text: str) -> list[int]:
    """*text* as `matcher` reads it."""
    return _TOKENIZER.tokenize_str(text)


def matcher(schema: Any) -> llguidance.LLMatcher:  # Any: JSON
    """llguidance with this project's grammar of *schema*.

    Raises:
        InvalidRequest: the schema is refused.
    """
    return llguidance.LLMatcher(_TOKENIZER, _grammar(schema), log_level=0)


def _followed(grammar: str, texts: list[str]) -> list[bool] | None:
    begun = llguidance.LLMatcher(_TOKENIZER, grammar, log_level=0)
    if begun.get_error():
        return None
    found = []
    for text in texts:
        ids = tokens(text)
        walked = begun.deep_copy()
        found.append(walked.try_consume_tokens(ids) == len(ids) and walked.is_accepting())
    return found


class ByXgrammar:
    """xgrammar, as vLLM's environment has it: `with ByXgrammar() as judge`."""

    def __init__(self) -> None:
        python = os.environ.get("ENGINEHOUSE_VLLM_PYTHON", ".cache/vllm-venv/bin/python")
        self._process = subprocess.Popen(
            [python, str(_JUDGE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> ByXgrammar:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def __call__(self, schema: Any, texts: list[str]) -> list[bool] | None:  # Any: JSON
        """Judge *texts*."""
        found: list[bool] | None = _asked(self._process, {"schema": schema, "texts": texts})
        return found

    def reads(self, grammar: str, texts: list[str]) -> list[bool] | None:
        """Which of *texts* fit *grammar*, in GBNF; None: it is refused."""
        found: list[bool] | None = _asked(self._process, {"grammar": grammar, "texts": texts})
        return found


class Before:
    """This project's compiler as an older commit has it, in `.cache/schemas/before`; llguidance follows it."""

    def __init__(self) -> None:
        path = os.pathsep.join(str(_BEFORE / "plugins" / name) for name in ("kit", "contract"))
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("before_judge.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    def __call__(self, schema: Any, texts: list[str]) -> list[bool] | None:  # Any: JSON
        """Judge *texts*."""
        grammar = _asked(self._process, schema)
        return None if grammar is None else _followed(any_to_lark(grammar), texts)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def _asked(process: subprocess.Popen[str], question: Any) -> Any:  # Any: JSON
    """The answer of *process*, a line for a line."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


@contextlib.contextmanager
def judges() -> Iterator[dict[str, Judge]]:
    """All of them by name, this project's first."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Judge] = {OWN: enginehouse}
        if (_BEFORE / "plugins").is_dir():
            found["before"] = stack.enter_context(contextlib.closing(Before()))
        else:
            print(f"'{_BEFORE}' does not have the compiler as it was: judged without it")
        yield found | {"llguidance": by_llguidance, "xgrammar": stack.enter_context(ByXgrammar())}


def verdict(
    judge: Judge, schema: Any, instances: list[tuple[Any, bool]], orders: int = _ORDERS
) -> tuple[str, Any]:  # Any: JSON
    """What *judge* makes of *schema*, and the first of *instances* (with what the standard says) that shows it.

    Each value is tried in up to *orders* spellings. enforced; narrower: something valid is not taken; unsound:
    something invalid is; refused.
    """
    texts = [list(itertools.islice(spellings(value), orders)) for value, _ in instances]
    found = judge(schema, [text for group in texts for text in group])
    if found is None:
        return "refused", None
    taken = iter(found)
    outcome: tuple[str, Any] = "enforced", None
    for (value, is_valid), group in zip(instances, texts, strict=True):
        fits = any(list(itertools.islice(taken, len(group))))
        if fits and not is_valid:
            return "unsound", value
        if is_valid and not fits:
            outcome = "narrower", value
    return outcome
