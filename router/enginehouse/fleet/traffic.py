"""What is learnt from the requests of one model, and used to choose where the next ones go."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse.config import ModelConfig, ServerConfig
from enginehouse.telemetry import get_logger
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import EngineDied, EngineError, EngineUnavailable

from .affinity import Affinity, Block, blocks_of, is_worth_it
from .choice import Habits
from .instance import HostedInstance
from .notes import Notes
from .pace import WEIGHT
from .retries import RetryBudget

log = get_logger()

MOST_TRIES = 6
"""Of one request, all instances together."""


class Traffic:
    """The requests of one model: habits, prefixes and retries. Times are the loop's clock's.

    With one instance there is nothing to choose, and nothing is learnt.
    """

    __slots__ = ("affinity", "habits", "retries", "uses_affinity")

    def __init__(self, config: ModelConfig, server: ServerConfig) -> None:
        self.habits = Habits(config.prefer, has_order=len(config.placements) > 1)
        self.affinity: Affinity[HostedInstance] = Affinity()
        self.uses_affinity = config.prefix_affinity
        self.retries = RetryBudget(server.retry_budget)

    def follow(self, config: ModelConfig) -> None:
        """Take from *config* how its instances are chosen."""
        self.habits.prefer = config.prefer
        self.habits.has_order = len(config.placements) > 1
        self.uses_affinity = config.prefix_affinity

    def came(self, request: GenerationRequest) -> Sequence[Block]:
        """Count *request*, and return the blocks of its prompt."""
        self.habits.turn += 1
        self.retries.add()
        return blocks_of(request) if self.uses_affinity and is_worth_it(request) else ()

    def went_to(self, hosted: HostedInstance, now: float) -> None:
        """Note that a request begins at *hosted*."""
        hosted.pace.turn = self.habits.turn
        hosted.breaker.begin(now)

    def answered(
        self, hosted: HostedInstance, blocks: Sequence[Block], facts: Notes, began: tuple[float, float], now: float
    ) -> None:
        """Note that *hosted* has answered; it *began* at that time, when the request was so many seconds old."""
        if hosted.others.measured is not None:
            hosted.others.ask_soon()
        began_at, began_s = began
        tokens = facts.completion_tokens
        self.habits.tokens += WEIGHT * (tokens - self.habits.tokens)
        hosted.pace.answered(tokens, now - began_at, now)
        if not blocks:
            return
        self.affinity.note(blocks, hosted.cache)
        if facts.is_stream and facts.ttft_s is not None and facts.prompt_tokens:
            read = 1.0 - facts.cached_tokens / facts.prompt_tokens
            hosted.pace.began(int(blocks[-1][1] * read), facts.ttft_s - began_s)

    def may_try_again(self, error: EngineError, tries: int, now: float) -> bool:
        """Whether a request that failed with *error*, after *tries* tries, may be tried once more.

        What an engine that is gone leaves behind moves on at once: it had no work of it. Whatever else is tried again
        comes out of the budget.
        """
        if tries >= MOST_TRIES:
            return False
        if tries == 1 and isinstance(error, (EngineDied, EngineUnavailable)):
            return True
        return self.retries.take(now)
