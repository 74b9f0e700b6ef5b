"""From a request to the body of `/completion`: every sampler is named, in the order that the API means."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from enginehouse_kit.grammar import OutputGrammar
from enginehouse_kit.text.bounds import GREEDY_BELOW, check_bias
from enginehouse_kit.text.chat_messages import CALL_OPENS
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import InvalidRequest

from .server import FINAL_FIELDS

_SEEDS = 2**32 - 256
"""Seeds of the engine are 32 bits, the last of them means "random", and choice i takes seed + i."""

_WORD_TRIGGER = 1  # llama.cpp: COMMON_GRAMMAR_TRIGGER_TYPE_WORD

MAX_TOP_LOGPROBS = 20
MAX_N = 128
"""The most choices of a request: so many seeds behind a request's own are none of the engine's special ones."""


def engine_seed(seed: int | None) -> int:
    """Map a seed of 64 bits to one of the engine's: itself from 0 to 2^32 - 257, else the remainder.

    None gives a random one.
    """
    return secrets.randbelow(_SEEDS) if seed is None else seed % _SEEDS


def sampling(request: GenerationRequest, context_tokens: int) -> dict[str, Any]:  # Any: JSON
    """Samplers of *request*: bias and penalties, then temperature, then the cuts.

    The engine applies the bias first by itself. What is neutral is left out of the chain, so that the
    engine's own defaults (top_k 40, min_p 0.05, …) never apply.
    """
    chain: list[str] = []
    body: dict[str, Any] = {"samplers": chain, "repeat_last_n": 0}
    if request.frequency_penalty or request.presence_penalty or request.repetition_penalty != 1.0:
        chain.append("penalties")
        body["repeat_last_n"] = context_tokens  # all of prompt and output
        body["repeat_penalty"] = request.repetition_penalty
        body["frequency_penalty"] = request.frequency_penalty
        body["presence_penalty"] = request.presence_penalty
    chain.append("temperature")
    body["temperature"] = request.temperature if request.temperature >= GREEDY_BELOW else 0.0
    for name, value, neutral in (
        ("min_p", request.min_p, 0.0),
        ("top_k", request.top_k, 0),
        ("top_p", request.top_p, 1.0),
    ):
        if value != neutral:
            chain.append(name)
            body[name] = value
    return body


def check(request: GenerationRequest, vocabulary_size: int) -> None:
    """Refuse values that this engine cannot honour.

    Raises:
        InvalidRequest: a biased token is not in the vocabulary; or penalties that do not go together.
    """
    check_bias(request, vocabulary_size)
    if request.repetition_penalty != 1.0 and (request.frequency_penalty or request.presence_penalty):
        # The engine counts the prompt for all of them; the bias that undoes it for two would bend the third.
        raise InvalidRequest(
            "'repetition_penalty' cannot be combined with 'frequency_penalty' or 'presence_penalty' on this model.",
            param="repetition_penalty",
        )
    if request.repetition_penalty <= 0.0:
        raise InvalidRequest("'repetition_penalty' must be above 0.", param="repetition_penalty")


def output_only(
    request: GenerationRequest, prompt_ids: Sequence[int], written: Collection[int] = ()
) -> dict[int, float]:
    """The request's biases, and what the engine's penalties take from tokens for standing in the prompt.

    The engine counts prompt and output together; the API means the output alone. The frequency part of the
    prompt is constant, so a bias cancels it. The presence part is due once a token is in the output as well:
    it is given back only for tokens that are not in *written*.
    """
    given_back = dict(request.logit_bias)
    for token_id, count in Counter(prompt_ids).items():
        amount = count * request.frequency_penalty
        if token_id not in written:
            amount += request.presence_penalty
        given_back[token_id] = given_back.get(token_id, 0.0) + amount
    return given_back


def completion_body(
    request: GenerationRequest,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    context_tokens: int,
    bias: dict[int, float],
    prefix_cache: bool,
    grammar: OutputGrammar | None = None,
    silent_ids: Collection[int] = (),
) -> dict[str, Any]:  # Any: JSON
    """The body of `/completion` for *request* with its prompt as *prompt_ids*.

    Under a grammar *silent_ids* are banned: the engine matches the names of such tokens against it like any text, and
    then prints nothing, so that what a string holds would be shorter than the grammar has counted.
    """
    body = sampling(request, context_tokens)
    body.update(
        prompt=prompt_ids,
        stream=True,
        n_predict=max_tokens,
        n_cmpl=request.n,
        seed=engine_seed(request.seed),
        # On quantised weights a cached prefix changes the last bits of the logits, and with them a seeded answer.
        cache_prompt=prefix_cache and request.seed is None,
        return_progress=True,
        response_fields=FINAL_FIELDS,
        stop=[],  # matched in `runs`
    )
    if request.ignore_eos:
        body["ignore_eos"] = True
    if grammar is not None:
        body["grammar"] = grammar.text
        if grammar.is_lazy:
            body.update(grammar_lazy=True, grammar_triggers=[{"type": _WORD_TRIGGER, "value": CALL_OPENS}])
    banned = [(token_id, False) for token_id in silent_ids] if grammar is not None else []
    if bias or banned:
        body["logit_bias"] = [*bias.items(), *banned]
    if request.logprobs:
        body["n_probs"] = max(request.top_logprobs, 1)
    return body
