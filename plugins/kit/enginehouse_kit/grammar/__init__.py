"""Grammars of an answer, for engines that constrain what is sampled: JSON Schema, tool calls, reasoning.

`output_grammar` is the way in. A schema is read (`reading`) as shapes of each type, these become rules over JSON's text
(`rules`, `form`), and a printer writes them as an engine reads them (`gbnf` for llama.cpp and xgrammar, `lark` for
llguidance). So the same schema is enforced the same way on every engine, and what cannot be enforced is refused by the
same name and place.
"""

from __future__ import annotations

from .output import OutputGrammar, blame_of, output_grammar, ready_grammar, schema_form

__all__ = ["OutputGrammar", "blame_of", "output_grammar", "ready_grammar", "schema_form"]
