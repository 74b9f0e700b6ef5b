"""What instances have in common that generate nothing: texts become vectors, or scores against a query."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TypeVar

from enginehouse_plugin.errors import EngineProtocolError, UnsupportedFeature
from enginehouse_plugin.features import Capabilities
from enginehouse_plugin.request import GenerationRequest, Text, Tokens

from .child import Child
from .instance import Begin, EngineServer, ProcessInstance

_Made = TypeVar("_Made")


class TextInstance(ProcessInstance):
    """An instance with a task that generates nothing: its tokens can be counted, and generating is refused."""

    def __init__(self, child: Child, server: EngineServer, capabilities: Capabilities) -> None:
        super().__init__(child, server)
        self.capabilities = capabilities

    @abstractmethod
    async def tokens_of(self, text: str, add_special: bool = True) -> list[int]:
        """The tokens of *text*, with the model's own ones around them or without."""

    async def prepare(self, request: GenerationRequest) -> Begin:  # noqa: ARG002  # none is served
        """See `ProcessInstance.prepare`."""
        (task,) = self.capabilities.tasks
        told = f"This model has the task '{task}' and cannot generate."
        raise UnsupportedFeature("chat", param="model", message=told)

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance.check`: nothing is generated, so that no default can be wrong."""

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`."""
        prompt = request.prompt
        if isinstance(prompt, Tokens):
            return len(prompt.token_ids)
        return len(await self.tokens_of(prompt.text if isinstance(prompt, Text) else ""))

    def limit(self, truncate_tokens: int | None) -> int:
        """The most tokens that a text may have, of which *truncate_tokens* are asked for."""
        most = self.capabilities.context_tokens
        return most if truncate_tokens is None else min(truncate_tokens, most)

    def vectors_of(self, made: Mapping[int, bytes], count: int) -> list[bytes]:
        """The vectors *made* of *count* texts, by the texts' places, in their order.

        Raises:
            EngineProtocolError: not each text has one.
        """
        return _in_order(made, count, f"{self.engine} made {len(made)} vectors of {count} texts.")

    def scores_of(self, found: Mapping[int, float], count: int) -> list[float]:
        """The scores *found* of *count* documents, by the documents' places, in their order.

        Raises:
            EngineProtocolError: not each document has one.
        """
        return _in_order(found, count, f"{self.engine} scored {len(found)} of {count} documents.")


def _in_order(made: Mapping[int, _Made], count: int, problem: str) -> list[_Made]:
    if made.keys() != set(range(count)):
        raise EngineProtocolError(problem)
    return [made[at] for at in range(count)]
