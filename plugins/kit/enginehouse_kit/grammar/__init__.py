"""Grammars of an answer in GBNF, for engines that constrain what is sampled: JSON Schema, tool calls, reasoning.

`output_grammar` is the way in. Whatever the engine, the same schema is enforced the same way, and what cannot be
enforced is refused by the same name and place. llama.cpp and xgrammar read the notation.
"""

from __future__ import annotations

from .output import OutputGrammar, blame_of, output_grammar
from .rules import schema_grammar

__all__ = ["OutputGrammar", "blame_of", "output_grammar", "schema_grammar"]
