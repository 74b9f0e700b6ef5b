"""From the engine's pieces to the events of one choice: stop strings, tool calls, reasoning, logprobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from enginehouse_kit.text.choice_reader import ChoiceReader
from enginehouse_kit.text.marked_calls import call_reader
from enginehouse_kit.text.stops import StopMatcher
from enginehouse_kit.text.thinking import State
from enginehouse_plugin import AnyEvent, FinishReason, GenerationRequest, TokenLogprob, TopLogprob
from enginehouse_plugin.errors import EngineFailure

from .server import Logprobs
from .vocabulary import Vocabulary

_LOGPROB_FLOOR = -9999.0
_ID_PREFIX = "token_id:"
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


class ChoiceReading:
    """Reads one choice. Text is cut at the first stop string that is complete, wherever the pieces are split."""

    def __init__(self, request: GenerationRequest, choice: int, thinking: State) -> None:
        self.reader = ChoiceReader(choice, call_reader(request), thinking)
        self._matcher = StopMatcher(request.stop)

    @property
    def is_finished(self) -> bool:
        """Nothing of this choice follows."""
        return self.reader.is_finished

    def read(
        self, text: str, completion_tokens: int, logprobs: Iterable[TokenLogprob], finish_reason: str | None
    ) -> Iterator[AnyEvent]:
        """Take a piece; *finish_reason* with the last.

        Raises:
            EngineFailure: the engine ended the choice for a reason of its own.
        """
        ready, matched = self._matcher.push(text)
        if matched is None and finish_reason is not None:
            ready += self._matcher.flush()
        yield from self.reader.read(ready, completion_tokens, logprobs)
        if matched is not None:
            yield from self.reader.finish("stop", completion_tokens, matched)
        elif finish_reason is not None:
            reason = _REASONS.get(finish_reason)
            if reason is None:
                raise EngineFailure(f"vLLM ended the answer with '{finish_reason}'.")
            yield from self.reader.finish(reason, completion_tokens)


def token_id_of(token: str) -> int:
    """The id in a token that is written as one; -1 if it is not."""
    number = token.removeprefix(_ID_PREFIX)
    return int(number) if number != token and number.isdecimal() else -1


def read_logprobs(wire: Logprobs, top: int, vocabulary: Vocabulary) -> list[TokenLogprob]:
    """The tokens of a chunk, each with the *top* likeliest."""
    found = []
    likeliest = wire.top_logprobs or [None] * len(wire.tokens)
    for token, logprob, others in zip(wire.tokens, wire.token_logprobs, likeliest, strict=True):
        ranked = sorted((others or {}).items(), key=lambda entry: -entry[1])[:top]
        found.append(
            logprob_of(
                token_id_of(token),
                logprob if logprob is not None else _LOGPROB_FLOOR,
                [(token_id_of(other), value) for other, value in ranked],
                vocabulary,
            )
        )
    return found


def logprob_of(
    token_id: int, logprob: float, ranked: Iterable[tuple[int, float]], vocabulary: Vocabulary
) -> TokenLogprob:
    """A sampled token with its alternatives, their bytes from *vocabulary*."""
    piece = vocabulary.piece(token_id)
    top = []
    for other, value in ranked:
        other_piece = vocabulary.piece(other)
        top.append(TopLogprob(other_piece.decode(errors="replace"), other, other_piece, max(value, _LOGPROB_FLOOR)))
    return TokenLogprob(
        token=piece.decode(errors="replace"),
        token_id=token_id,
        token_bytes=piece,
        logprob=max(logprob, _LOGPROB_FLOOR),
        top=tuple(top),
    )
