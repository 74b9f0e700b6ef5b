"""The usage so far, as each chunk of a stream tells it where `stream_options.continuous_usage_stats` asks for it."""

from __future__ import annotations

from enginehouse_plugin.events import AnyEvent, Finished, Started, UsageReport


class RunningUsage:
    """Counts what *n* choices have had so far: the prompt, and the tokens of each by itself."""

    __slots__ = ("_counts", "_prompt_tokens")

    def __init__(self, n: int) -> None:
        self._counts = [0] * n
        self._prompt_tokens: int | None = None

    def note(self, event: AnyEvent) -> int | None:
        """Take *event* in; returns the choice whose chunk it becomes, None where it becomes none with a choice."""
        if type(event) is Started:
            self._prompt_tokens = event.prompt_tokens
            return None
        if type(event) is UsageReport or not 0 <= event.choice < len(self._counts):
            return None
        if type(event) is not Finished:
            self._counts[event.choice] = event.completion_tokens
        return event.choice

    def told(self, choice: int, *, is_opening: bool = False) -> bytes:
        """The usage of a chunk of *choice*, encoded; null where the engine counts the prompt only at the end.

        With *is_opening* that of the first chunk, which holds nothing of the answer.
        """
        prompt = self._prompt_tokens
        if prompt is None:
            return b"null"
        made = 0 if is_opening else self._counts[choice]
        return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (prompt, made, prompt + made)
