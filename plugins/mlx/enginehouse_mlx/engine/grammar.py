"""What an answer may be, for llguidance: the grammars that all engines share, with the model's marks around them."""

from __future__ import annotations

import json
import re

import llguidance

from enginehouse_kit.grammar import OutputGrammar, blame_of, output_grammar
from enginehouse_kit.grammar.lark import lark
from enginehouse_kit.grammar.limits import OverBudget
from enginehouse_kit.text.chat_messages import CALL_OPENS
from enginehouse_kit.text.thinking import State
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import InvalidRequest

from .templates import ModelTemplate
from .vocabulary import Vocabulary

_OPTIONS = '%llguidance {"no_forcing": true}'
"""All tokens that fit stay allowed, as on other engines, also where only one text can follow: otherwise llguidance
would allow the tokenizer's own split of that text alone."""


def grammar_of(
    request: GenerationRequest, vocabulary: Vocabulary, template: ModelTemplate, thinking: State
) -> str | None:
    """The grammar for one choice of *request*, or None where the answer is free.

    Calls under `auto` that have the form of the model's own template are free too.

    Raises:
        InvalidRequest: a schema cannot be enforced.
    """
    if template.reads_own_calls(request):
        return None
    grammar = output_grammar(request)
    try:
        return None if grammar is None else _lark(grammar, vocabulary, template, thinking)
    except OverBudget as error:  # it is longer in Lark's notation than in the one that compiling bounds
        raise InvalidRequest(
            "The JSON schemas of this request make too long a grammar.",
            param=blame_of(request),
            code="unsupported_schema",
        ) from error


def left_out(request: GenerationRequest) -> tuple[str, ...]:
    """Places in the tools of *request* that its grammar leaves to the model."""
    grammar = output_grammar(request)
    return () if grammar is None else grammar.ignored


def matcher_of(grammar: str, vocabulary: Vocabulary, request: GenerationRequest) -> llguidance.LLMatcher:
    """A matcher at the beginning of *grammar*.

    Raises:
        InvalidRequest: it is too large for llguidance.
    """
    matcher = llguidance.LLMatcher(vocabulary.grammar_tokenizer, grammar, log_level=0)
    problem = matcher.get_error()
    if problem:
        raise InvalidRequest(
            f"The JSON schema cannot be enforced: {problem.strip().splitlines()[0]}",
            param=blame_of(request),
            code="unsupported_schema",
        )
    return matcher


def _lark(grammar: OutputGrammar, vocabulary: Vocabulary, template: ModelTemplate, thinking: State) -> str:
    """*grammar* in Lark's notation. Reasoning may stand before the answer, as *thinking* says; where the grammar
    is lazy, free text may, or be all of it."""
    lines = [_up_to("marked", CALL_OPENS, vocabulary)] if grammar.is_lazy else []
    start = "free | marked answer" if grammar.is_lazy else "answer"
    if thinking != "never":
        opens, closes = template.marks
        reasoned = "reasoned blanks"
        lines += [_up_to("reasoned", closes, vocabulary), "blanks: /[ \\n]{0,4}/"]
        if thinking == "may begin":
            is_token = vocabulary.special_id(opens) is not None
            lines.append(f"{'begun' if is_token else 'begun[lazy]'}: {_mark(opens, vocabulary)}")
            reasoned = f"(begun {reasoned})?"
        start = f"{reasoned} ({start})"
    lines += ["free: FREE_TEXT", "FREE_TEXT: /(.|\\n)*/"]
    return "\n".join([_OPTIONS, f"start: {start}", *lines, *lark(grammar.form, "answer", grammar.behind)])


def _up_to(name: str, mark: str, vocabulary: Vocabulary) -> str:
    """A rule for any text up to *mark*, which it includes."""
    if vocabulary.special_id(mark) is not None:
        return f"{name}: FREE_TEXT {_mark(mark, vocabulary)}"
    escaped = re.sub(r"([\\/.^$*+?()\[\]{}|])", r"\\\1", mark)
    return f"{name}[lazy]: /(.|\\n)*{escaped}/"


def _mark(text: str, vocabulary: Vocabulary) -> str:
    """*text* in Lark: a string, or the control token that it is."""
    identity = vocabulary.special_id(text)
    return json.dumps(text) if identity is None else f"<[{identity}]>"
