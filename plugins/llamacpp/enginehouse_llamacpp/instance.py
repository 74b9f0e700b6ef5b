"""One loaded model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from enginehouse_kit.grammar import ready_grammar
from enginehouse_kit.process.child import Child
from enginehouse_kit.process.instance import Begin, ProcessInstance
from enginehouse_kit.text.tokens import check_tokens, text_of, tokenized
from enginehouse_plugin import EngineLoad, GenerationRequest, Tokenized, TokenizeRequest

from . import translate
from .generation import Generation
from .model import Model
from .prompt import Prompter
from .server import Server, Slot
from .vocabulary import Vocabulary

_WAITING = re.compile(r"^llamacpp:requests_deferred (\S+)", re.MULTILINE)


class LlamaCppInstance(ProcessInstance):
    """A model that llama.cpp has loaded, in a process of its own."""

    engine = "llama.cpp"

    def __init__(self, child: Child, server: Server, model: Model) -> None:
        super().__init__(child, server)
        self.capabilities = model.capabilities
        self._server = server
        self._model = model
        self._prompter = Prompter(server, model)
        self._vocabulary = Vocabulary(server, model.vocabulary_size, model.control_ids)

    async def prepare(self, request: GenerationRequest) -> Begin:
        """See `ProcessInstance.prepare`."""
        translate.check(request, self._model.vocabulary_size)
        prompt = await self._prompter.prompt(request)
        grammar = await ready_grammar(request, prompt.thinking)
        return Generation(self._server, self._vocabulary, self._model, request, prompt, grammar).start

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`."""
        return len((await self._prompter.prompt(request)).token_ids)

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        deferred = _WAITING.search(await self._server.metrics())
        slots = await self._server.slots()
        return EngineLoad(
            running=sum(slot.is_processing for slot in slots),
            waiting=int(float(deferred.group(1))) if deferred else 0,
            cache_used=cache_used(slots),
        )

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self._server.tokenize(text, parse_special=False)

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        """See `Tokenizer.tokenize_prompt`."""
        token_ids = (await self._prompter.prompt(wanted.request, special=wanted.special)).token_ids
        return tokenized(token_ids, await self._server.pieces(token_ids) if wanted.texts else None)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer.detokenize`."""
        check_tokens(token_ids, self._model.vocabulary_size)
        return text_of(await self._server.pieces(token_ids))

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        return sum(slot.is_processing for slot in await self._server.slots())


def cache_used(slots: Sequence[Slot]) -> float | None:
    """The share of the places in the cache of all *slots* that those at work take; None: this build does not tell."""
    taken = [slot.n_prompt_tokens for slot in slots if slot.is_processing]
    known = [tokens for tokens in taken if tokens is not None]
    places = sum(slot.n_ctx for slot in slots)
    return min(1.0, sum(known) / places) if places and len(known) == len(taken) else None
