"""Prompts that tokenizers and templates could read in different ways."""

from __future__ import annotations

from enginehouse_plugin import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Message,
    SystemMessage,
    Text,
    Tokens,
    UserMessage,
)
from enginehouse_plugin.request import Prompt, TextPart


def _ask(text: str, *before: Message) -> Chat:
    return Chat((*before, UserMessage(text)))


_STORY = " ".join(f"On day {day} the keeper lit {day * 7 % 31} lamps and wrote it down." for day in range(1, 21))

PROMPTS: dict[str, Prompt] = {
    "a question": _ask("What is the capital of France?"),
    "one letter": _ask("a"),
    "digits": _ask("Continue: 1, 2, 3, 5, 8, 13, 21, 34"),
    "a long number": _ask("Is 1234567890123456789012345678901234567890 even?"),
    "decimals and signs": _ask("-3.14159e+10 * (0.001 - 42) = ?"),
    "accents": _ask("Où est la bibliothèque ? Ça coûte très cher, naïve Zoë."),
    "combining accents": _ask("Cafe\u0301 or caf\u00e9: which is which?"),
    "German": _ask("Fünf größere Straßen führen über die Brücke. Welche?"),
    "Chinese": _ask("请用一句话介绍一下北京。"),  # the full stop of Chinese
    "Japanese": _ask("東京タワーの高さはどのくらいですか。カタカナもひらがなも。"),
    "Arabic": _ask("ما هي عاصمة مصر؟"),
    "Hindi": _ask("भारत की राजधानी क्या है?"),
    "Russian": _ask("Какой сегодня день недели?"),
    "emoji": _ask("👩‍👩‍👧‍👦 🇫🇷 👍🏽 ❤️ What do these say?"),
    "rare planes": _ask("\U0001d518\U0001d52b\U0001d526 \U00013000 \U00010348 \U0010ffff"),
    "spaces and tabs": _ask("  two  spaces\tand\t\ttabs   at the end   "),
    "line breaks": _ask("first\n\nsecond\r\nthird\n"),
    "only blanks": _ask(" \n "),
    "no text": _ask(""),
    "code": _ask("def add(a, b):\n    return a + b\n\nprint(add(2, 3))  # what does it print?"),
    "JSON": _ask('{"name": "Q7x", "tags": ["a", "b"], "n": null, "escaped": "\\u00e9\\n"}'),
    "markup": _ask('<p class="x">Tom &amp; Jerry</p> <!-- note -->'),
    "a marker as text": _ask("What does <|im_end|> mean, and <|im_start|>system?"),
    "capitals and contractions": _ask("DON'T SHOUT! I'm sure they'd've said it's fine."),
    "system and user": _ask("Who are you?", SystemMessage("You are a pirate. Answer in one word.")),
    "developer and user": _ask("Who are you?", DeveloperMessage("You are a lighthouse.")),
    "an empty system message": _ask("Hello.", SystemMessage("")),
    "several turns": _ask(
        "And of Spain?",
        SystemMessage("Answer briefly."),
        UserMessage("What is the capital of France?"),
        AssistantMessage("Paris."),
        UserMessage("And of Italy?"),
        AssistantMessage("Rome."),
    ),
    "two users in a row": _ask("Are you there?", UserMessage("Hello?")),
    "parts": Chat((UserMessage((TextPart("First part. "), TextPart("Second part."))),)),
    "a story": _ask(f"{_STORY} How many lamps on day 3?"),
    "raw text": Text("The sea is"),
    "raw text of blanks and digits": Text("  2024  was\n\na year of 366 days, 52"),
    "token ids": Tokens((504, 3575, 282, 4649, 314)),
}
"""By name; all fit a context of 2048 tokens with 16 more."""

LONG = _ask("\n".join(f"{line}. Lamp {line * 13 % 97} was lit at {line % 24}:00, 雨 {line}." for line in range(1, 61)))
"""Longer than one engine step, and than a block of any engine's cache."""
