"""The rule of a grammar for reasoning between `<think>` and `</think>`."""

from __future__ import annotations

from enginehouse_plugin.hosting.thinking import CLOSES, OPENS, State

from .grammar import Grammar


def thinking_rule(grammar: Grammar, state: State) -> str:
    """An expression for the reasoning that may stand before an answer; empty if none may."""
    if state == "never":
        return ""
    # One rule for each part of the closing mark that has been read: any other character leads back.
    names = [grammar.reserve() for _ in CLOSES]
    grammar.write(names[0], f'[^<] {names[0]} | "<" {names[1]}')
    for at in range(1, len(CLOSES)):
        onward = f'"{CLOSES[at]}"' if at == len(CLOSES) - 1 else f'"{CLOSES[at]}" {names[at + 1]}'
        grammar.write(names[at], f'"<" {names[1]} | [^{CLOSES[at]}<] {names[0]} | {onward}')
    rest = f"{names[0]} [ \\n]{{0,4}}"
    return rest if state == "inside" else f'("{OPENS}" {rest})?'
