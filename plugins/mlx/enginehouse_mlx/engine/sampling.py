"""How the next token of one sequence is chosen; runs on the thread that owns the model.

The order, the same on every engine: bias, penalties, temperature, min_p, top_k, top_p; a grammar's mask stands
before all cuts. Each sequence has its own chain of random keys, so that a seed gives the same answer alone and
beside others.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import llguidance
import mlx.core as mx
import numpy as np

from enginehouse_kit.text.bounds import GREEDY_BELOW
from enginehouse_plugin import GenerationRequest

from .logprobs import RawLogprobs

Sampler = Callable[[mx.array], mx.array]
Processor = Callable[[mx.array, mx.array], mx.array]

_LEAST_TOP_P = 1e-6  # 0 keeps the likeliest token
_LOGPROB_FLOOR = -9999.0  # for probabilities that a 32-bit float cannot hold
_MASK_SEEDS = 2**64 - 1
_SHARP = 0.01  # divided by less, logprobs leave the range of 16 bits


class RowSampling:
    """The choice of tokens for choice *choice* of *request*, whose prompt is *prompt_ids*."""

    def __init__(
        self,
        request: GenerationRequest,
        choice: int,
        prompt_ids: Sequence[int],
        vocabulary_size: int,
        eos_ids: Sequence[int],
        matcher: llguidance.LLMatcher | None,
    ) -> None:
        self._request = request
        self._vocabulary_size = vocabulary_size
        self._eos_ids = list(eos_ids)
        self._matcher = matcher
        self._is_first = True
        self._raw: mx.array | None = None
        self._measured: deque[tuple[mx.array, mx.array | None, mx.array | None]] = deque()
        self.problem: str | None = None
        """Why the grammar could not go on."""
        self._bias: mx.array | None = None
        if request.logit_bias:
            bias = np.zeros(vocabulary_size, np.float32)
            for token_id, value in request.logit_bias.items():
                bias[token_id] = value
            self._bias = _array(bias)
        self._steps = 0
        self._goes_on: mx.array | None = None
        if (request.ignore_eos or request.min_tokens) and matcher is None:
            ends = np.zeros(vocabulary_size, np.float32)
            ends[self._eos_ids] = -np.inf
            self._goes_on = _array(ends)
        self._counts: mx.array | None = None
        if request.frequency_penalty or request.presence_penalty:
            self._counts = mx.zeros((vocabulary_size,))
        self._seen: mx.array | None = None
        if request.repetition_penalty != 1.0:
            seen = np.zeros(vocabulary_size, np.bool_)
            seen[list(prompt_ids)] = True
            self._seen = _array(seen)
        self._choose: Sampler = (
            self._seeded(choice)
            if request.seed is not None and request.temperature >= GREEDY_BELOW
            else (shared_sampler(request.temperature, request.min_p, request.top_k, request.top_p))
        )

    @property
    def sampler(self) -> Sampler:
        """What mlx_lm calls with normalised logits of shape (1, vocabulary) to get a token of shape (1,)."""
        return self._sample_and_measure if self._request.logprobs else self._choose

    @property
    def processors(self) -> tuple[Processor, ...]:
        """What mlx_lm calls with the tokens so far and the raw logits, before it samples."""
        parts = (self._bias, self._counts, self._seen, self._matcher, self._goes_on)
        is_needed = self._request.logprobs or any(part is not None for part in parts)
        return (self._process,) if is_needed else ()

    def measured(self, token_id: int) -> RawLogprobs:
        """Logprobs of the oldest token that was sampled and not yet asked for, which is *token_id*."""
        own, ids, values = self._measured.popleft()
        logprob = max(_number(own), _LOGPROB_FLOOR)
        top: list[tuple[int, float]] = []
        if ids is not None and values is not None:
            likeliest: list[Any] = [ids.tolist(), values.tolist()]  # Any: `tolist` is typed for any shape
            top = [(identity, max(value, _LOGPROB_FLOOR)) for identity, value in zip(*likeliest, strict=True)]
            # Of equal ones the sampled token stands first.
            top.sort(key=lambda pair: (-pair[1], pair[0] != token_id, pair[0]))
        return RawLogprobs(logprob, tuple(top))

    # ---- processing ----

    def _process(self, tokens: mx.array, logits: mx.array) -> mx.array:
        request = self._request
        self._raw = logits
        last = None if self._is_first else tokens[-1:]
        self._is_first = False
        if self._bias is not None:
            logits = logits + self._bias
        if self._seen is not None:
            if last is not None:
                self._seen = self._seen.at[last].maximum(True)
            penalty = request.repetition_penalty
            logits = mx.where(self._seen, mx.where(logits < 0, logits * penalty, logits / penalty), logits)
        if self._counts is not None:
            if last is not None:
                self._counts = self._counts.at[last].add(1.0)
            logits = logits - request.frequency_penalty * self._counts
            logits = logits - request.presence_penalty * (self._counts > 0)
        if self._matcher is not None:
            logits = mx.where(self._allowed(self._matcher, last), logits, -mx.inf)
        if self._goes_on is not None and (request.ignore_eos or self._steps < request.min_tokens):
            logits = logits + self._goes_on
        self._steps += 1
        return logits

    def _allowed(self, matcher: llguidance.LLMatcher, last: mx.array | None) -> mx.array:
        """The tokens that the grammar allows next. Once it has ended, or failed, only the end of the sequence is."""
        if last is not None and not matcher.is_stopped() and not matcher.consume_token(int(_number(last))):
            self.problem = matcher.get_error()
        if not matcher.is_stopped():
            bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
            if not matcher.is_error():
                allowed = np.unpackbits(bits, bitorder="little", count=self._vocabulary_size)
                return _array(allowed.view(np.bool_))
            self.problem = matcher.get_error()
        only_end = np.zeros(self._vocabulary_size, np.bool_)
        only_end[self._eos_ids] = True
        return _array(only_end)

    # ---- sampling ----

    def _seeded(self, choice: int) -> Sampler:
        request = self._request
        key = mx.random.key(((request.seed or 0) + choice) & _MASK_SEEDS)
        cuts = (request.temperature, request.min_p, request.top_k, request.top_p)

        def choose(logprobs: mx.array) -> mx.array:
            nonlocal key
            key, mine = mx.random.split(key)
            return mx.random.categorical(_cut(logprobs, *cuts), key=mine)

        return choose

    def _sample_and_measure(self, logprobs: mx.array) -> mx.array:
        token = self._choose(logprobs)
        raw = self._raw
        if raw is None:  # a row with logprobs has a processor, which is called first
            raise RuntimeError("a token was sampled before its logits were processed")
        raw = raw[0].astype(mx.float32)
        raw = raw - mx.logsumexp(raw)
        own = raw[token]
        ids = values = None
        count = min(self._request.top_logprobs, self._vocabulary_size)
        if count:
            ids = mx.argpartition(-raw, kth=count - 1)[:count]
            values = raw[ids]
        mx.async_eval([array for array in (own, ids, values) if array is not None])  # type: ignore[no-untyped-call]
        self._measured.append((own, ids, values))
        return token


@functools.lru_cache(maxsize=64)
def shared_sampler(temperature: float, min_p: float, top_k: int, top_p: float) -> Sampler:
    """A sampler without a seed; sequences that share it are sampled in one call."""
    if temperature < GREEDY_BELOW:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    return lambda logprobs: mx.random.categorical(_cut(logprobs, temperature, min_p, top_k, top_p))


def _cut(logprobs: mx.array, temperature: float, min_p: float, top_k: int, top_p: float) -> mx.array:
    """*logprobs* by temperature, without the tokens that min_p, top_k and top_p leave out, in this order."""
    if temperature < _SHARP:
        logprobs = logprobs.astype(mx.float32)
    scaled = logprobs if temperature == 1.0 else logprobs * (1.0 / temperature)
    has_top_k = 0 < top_k < scaled.shape[-1]
    if not min_p and not has_top_k and top_p >= 1.0:
        return scaled
    ordered = -mx.sort(-scaled.astype(mx.float32), axis=-1)
    shares = mx.exp(ordered - ordered[..., :1])  # of the likeliest
    stays = shares >= min_p
    if has_top_k:
        stays = stays & (mx.arange(shares.shape[-1]) < top_k)
    if top_p < 1.0:
        mass = mx.where(stays, shares, 0.0)
        above = mx.cumsum(mass, axis=-1) - mass
        stays = stays & (above < max(top_p, _LEAST_TOP_P) * mass.sum(axis=-1, keepdims=True))
    least = mx.where(stays, ordered, mx.inf).min(axis=-1, keepdims=True)
    return mx.where(scaled.astype(mx.float32) < least, -mx.inf, scaled)


def _number(array: mx.array) -> float:
    value: Any = array.item()  # Any: `item` is typed for complex arrays too
    return float(value)


def _array(values: Any) -> mx.array:  # Any: numpy arrays, which MLX's types leave out
    return mx.array(values)
