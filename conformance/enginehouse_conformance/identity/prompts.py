"""Prompts of a seed, unlike those of any other seed: short and open, or long with a question about what came early."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

_FORMS = (
    "Write one sentence about a {adjective} {noun} and {number} {other}s.",
    "Continue this sentence: The {adjective} {noun} behind the {other}",
    "Name something that a {noun} and a {other} have in common.",
    "What would a {adjective} {noun} say to a {other}?",
    "Give me a title for a story about {number} {noun}s and a {other}.",
    "Invent a word for a {adjective} {noun} and explain it.",
    "Why is the {noun} more {adjective} than the {other}?",
    "Finish the list: {noun}, {other}, {number},",
    "Ask me a question about a {noun}, a {other} or the number {number}.",
    "Describe the colour of a {adjective} {noun}.",
    "Is a {noun} heavier than {number} {other}s?",
    "Translate into French: the {adjective} {noun} and the {other}.",
    "Write a line of Python about {noun}s and {other}s.",
    "Who owns the {adjective} {noun} at number {number}?",
)
_NOUNS = (
    "anchor", "apple", "barrel", "bell", "bridge", "candle", "carpet", "castle", "chair", "cloud", "clock", "coat",
    "desert", "doctor", "drum", "engine", "falcon", "farmer", "feather", "fence", "forest", "garden", "ghost",
    "glacier", "hammer", "harbour", "horse", "island", "jacket", "kettle", "kitchen", "ladder", "lantern", "letter",
    "library", "market", "meadow", "mirror", "mountain", "needle", "ocean", "orchard", "painter", "pencil", "piano",
    "pillow", "pirate", "planet", "rabbit", "river", "robot", "sailor", "shadow", "spoon", "statue", "teacher",
    "temple", "ticket", "tiger", "tower", "train", "turtle", "valley", "violin", "wagon", "window", "wizard",
    "wolf",
)  # fmt: skip
_ADJECTIVES = (
    "ancient", "bitter", "blue", "broken", "clever", "cold", "distant", "empty", "fragile", "golden", "heavy", "hidden",
    "hollow", "honest", "little", "loud", "narrow", "patient", "purple", "quiet", "round", "rusty", "sleepy", "strange",
    "tall", "tired", "warm", "wild", "wooden", "young",
)  # fmt: skip


_FACT = "The {adjective} {noun} has the number {number}."
_FACT_TOKENS = 11
_QUESTIONS = 8
"""Of one text, after each other: an engine that keeps a prefix reads it once."""
LONGEST_TOKENS = _FACT_TOKENS * len(_ADJECTIVES) * len(_NOUNS)
"""There are no more facts than things, of which each has one."""


def prompts(seed: int) -> Iterator[str]:
    """The prompts of *seed*, without end and each once: at most 90 characters of ASCII, so few tokens to any tokenizer.

    Their next tokens are open, so that many alternatives have a probability worth comparing.
    """
    dice = random.Random(f"identity/1/{seed}")  # noqa: S311  # whoever has the seed can ask the same
    seen: set[str] = set()
    while True:
        noun, other = dice.sample(_NOUNS, 2)
        form, adjective, number = dice.choice(_FORMS), dice.choice(_ADJECTIVES), dice.randrange(2, 1000)
        prompt = form.format(noun=noun, other=other, adjective=adjective, number=number)
        if prompt not in seen:
            seen.add(prompt)
            yield prompt


def long_prompts(seed: int, tokens: int) -> Iterator[str]:
    """The prompts of *seed* with about so many *tokens*, without end: facts, and a question about an early one.

    Eight in a row have the same facts. What comes next depends on all of the context: on where things stand in it,
    and on whether its beginning is there.
    """
    dice = random.Random(f"identity/1/{seed}/{tokens}")  # noqa: S311  # as above
    things = list(product(_ADJECTIVES, _NOUNS))
    while True:
        told = dice.sample(things, tokens // _FACT_TOKENS)
        facts = [_FACT.format(adjective=one, noun=noun, number=dice.randrange(100, 1000)) for one, noun in told]
        early = told[: max(_QUESTIONS, len(told) // 4)]
        for adjective, noun in dice.sample(early, _QUESTIONS):
            yield f"{' '.join(facts)} Say only the number of the {adjective} {noun}."
