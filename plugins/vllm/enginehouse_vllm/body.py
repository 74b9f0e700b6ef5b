"""From a request to the body of `/v1/completions`: sampling values are all written out, never left to the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from enginehouse_kit.grammar import OutputGrammar
from enginehouse_kit.text.bounds import GREEDY_BELOW, check_bias
from enginehouse_kit.text.chat_messages import CALL_OPENS
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import InvalidRequest

from .server import Body

_SMALLEST_TOP_P = 1e-9  # vLLM refuses 0, which means the same: the likeliest token alone
_SMALLEST_TEMPERATURE = 0.01  # vLLM replaces smaller ones by this
_SEED_RANGE = 2**63
_BANNED = -100.0  # the least bias that vLLM takes
_ENGINE_SEEDS = 2**32 - 256
"""Generators of processors take 32 bits of a seed and drop the others, and choice i takes seed + i."""


def check(request: GenerationRequest, vocabulary_size: int) -> None:
    """Refuse values that this engine cannot honour.

    Raises:
        InvalidRequest: a biased token is not in the vocabulary, or a temperature, penalty or seed is out of range.
    """
    check_bias(request, vocabulary_size)
    if GREEDY_BELOW <= request.temperature < _SMALLEST_TEMPERATURE:
        raise InvalidRequest(
            f"'temperature' must be {_SMALLEST_TEMPERATURE} or above on this engine, or 0 for the likeliest tokens.",
            param="temperature",
        )
    if request.repetition_penalty <= 0.0:
        raise InvalidRequest("'repetition_penalty' must be above 0.", param="repetition_penalty")
    if request.seed is not None and not -_SEED_RANGE <= request.seed < _SEED_RANGE:
        raise InvalidRequest("'seed' must be a whole number of 64 bits.", param="seed")


def engine_seed(seed: int) -> int:
    """The engine's seed for one of 64 bits: itself from 0 to 2^32 - 257, else one that all its bits decide.

    Source: the finalizer of SplitMix64.
    """
    if 0 <= seed < _ENGINE_SEEDS:
        return seed
    mixed = seed % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return (mixed ^ (mixed >> 31)) % _ENGINE_SEEDS


def is_copied(request: GenerationRequest) -> bool:
    """Whether one choice stands for all: vLLM makes no several choices at temperature 0, where they are equal."""
    return request.n > 1 and request.temperature < GREEDY_BELOW


def sampling(request: GenerationRequest) -> Body:
    """What is sampled and when it ends, in the words that vLLM's routes share.

    Stop strings end the work in the engine; the text keeps them, because the adapter cuts it (`reading`). Without any
    vLLM is not asked to: it would keep the token that ends the answer as well.
    """
    body: Body = {
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "n": 1 if is_copied(request) else request.n,
        "temperature": request.temperature if request.temperature >= GREEDY_BELOW else 0.0,
        "top_p": max(request.top_p, _SMALLEST_TOP_P),
        "top_k": request.top_k,
        "min_p": request.min_p,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "repetition_penalty": request.repetition_penalty,
    }
    if request.seed is not None:
        body["seed"] = engine_seed(request.seed)
    if request.ignore_eos:
        body["ignore_eos"] = True
    stops = [stop for stop in request.stop if stop]
    if stops:
        body.update(stop=stops, include_stop_str_in_output=True)
    if request.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in request.logit_bias.items()}
    return body


def constrain(body: Body, grammar: OutputGrammar, silent_ids: Iterable[int]) -> None:
    """Hold the answer that *body* asks for to *grammar*.

    *silent_ids* are banned: xgrammar matches the names of such tokens against the grammar like any text (seen in 0.2),
    and nothing of them is in the answer, which would be shorter than the grammar says.
    """
    body["structured_outputs"] = structured_outputs(grammar)
    if banned := dict.fromkeys(map(str, silent_ids), _BANNED):
        body["logit_bias"] = {**body.get("logit_bias", {}), **banned}


def completion_body(
    request: GenerationRequest,
    token_ids: Sequence[int],
    max_tokens: int,
    grammar: OutputGrammar | None,
    silent_ids: Iterable[int] = (),
    ends: Collection[int] = (),
) -> Body:
    """The body of `/v1/completions` for *request* with its prompt as *token_ids*; *silent_ids* as in `constrain`.

    *ends* end the answer, too.
    """
    body = sampling(request)
    body.update(prompt=token_ids, max_tokens=max_tokens)
    if request.min_tokens:
        body["min_tokens"] = min(request.min_tokens, max_tokens)  # of one above the other vLLM makes an error
    if ends and not request.ignore_eos:
        body["stop_token_ids"] = sorted(ends)
    if request.logprobs:
        body.update(logprobs=request.top_logprobs, return_tokens_as_token_ids=True, return_token_ids=True)
    if grammar is not None:
        constrain(body, grammar, silent_ids)
    return body


def raw_body(token_ids: Sequence[int], token_id: int, top: int) -> Body:
    """The body of a request that samples *token_id* behind *token_ids*, for its logprob and those of *top* others."""
    return {
        "prompt": token_ids,
        "max_tokens": 1,
        "temperature": 0.0,
        "allowed_token_ids": [token_id],
        "logprobs": top,
        "return_tokens_as_token_ids": True,
        "stream": True,
    }


def structured_outputs(grammar: OutputGrammar) -> Body:
    """What holds the output to *grammar*; a lazy one from the mark of a call on."""
    if not grammar.is_lazy:
        return {"grammar": grammar.for_xgrammar}
    tag = {"begin": CALL_OPENS, "content": {"type": "grammar", "grammar": grammar.for_xgrammar}, "end": ""}
    shape = {"type": "triggered_tags", "triggers": [CALL_OPENS], "tags": [tag], "stop_after_first": True}
    return {"structural_tag": msgspec.json.encode({"type": "structural_tag", "format": shape}).decode()}
