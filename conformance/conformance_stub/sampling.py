"""From raw logits to a token: bias, penalties, mask, temperature, min_p, top_k, top_p; and log probabilities."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from enginehouse_plugin import GenerationRequest, TokenLogprob, TopLogprob

from . import vocabulary

BANNED = -math.inf
_NEVER = 40  # e to the power of -40 is no chance at all


def biased(logits: Sequence[float], bias: dict[int, float]) -> list[float]:
    """*logits* with *bias* added."""
    values = list(logits)
    for token, amount in bias.items():
        values[token] += amount
    return values


def penalised(logits: list[float], counts: dict[int, int], frequency: float, presence: float) -> list[float]:
    """*logits* less the penalties of the tokens in *counts*, how often each is in the output.

    Source: OpenAI's formula, mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence.
    """
    if frequency or presence:
        for token, count in counts.items():
            logits[token] -= count * frequency + presence
    return logits


def repeated(logits: list[float], seen: Iterable[int], penalty: float) -> list[float]:
    """*logits* with those of the tokens in *seen* made less by *penalty*: divided where above 0, else multiplied."""
    for token in set(seen):
        logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    return logits


def sampled(logits: list[float], request: GenerationRequest, rng: random.Random) -> int:
    """A token by the request's temperature, min_p, top_k and top_p; temperature 0 takes the likeliest."""
    top, heat = max(logits), request.temperature
    if heat == 0:
        return logits.index(top)
    least = top - _NEVER * heat
    weights = [math.exp((value - top) / heat) if value > least else 0.0 for value in logits]
    if request.min_p:
        weights = [weight if weight >= request.min_p else 0.0 for weight in weights]  # the likeliest has 1
    if 0 < request.top_k < len(weights):
        least_kept = sorted(weights, reverse=True)[request.top_k - 1]
        weights = [weight if weight >= least_kept else 0.0 for weight in weights]
    if request.top_p < 1:
        weights = nucleus(weights, request.top_p)
    return rng.choices(range(len(weights)), weights)[0]


def nucleus(weights: list[float], top_p: float) -> list[float]:
    """*weights* of the likeliest tokens whose share first reaches *top_p*; the others 0."""
    left = top_p * sum(weights)
    kept = [0.0] * len(weights)
    for token in sorted(range(len(weights)), key=weights.__getitem__, reverse=True):
        kept[token] = weights[token]
        left -= weights[token]
        if left <= 0:
            break
    return kept


def entry(logits: Sequence[float], token: int, top: int) -> TokenLogprob:
    """The log-softmax of the raw *logits* for *token* and the *top* likeliest."""
    highest = max(logits)
    norm = highest + math.log(sum(math.exp(value - highest) for value in logits))
    best = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:top] if top else []
    return TokenLogprob(
        token=vocabulary.name_of(token),
        token_id=token,
        token_bytes=vocabulary.text_of(token),
        logprob=logits[token] - norm,
        top=tuple(
            TopLogprob(vocabulary.name_of(other), other, vocabulary.text_of(other), logits[other] - norm)
            for other in best
        ),
    )
