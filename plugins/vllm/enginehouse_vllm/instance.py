"""One loaded model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from enginehouse_kit.grammar import ready_grammar
from enginehouse_kit.process.child import Child
from enginehouse_kit.process.instance import Begin, ProcessInstance
from enginehouse_kit.text.tokens import check_tokens, text_of, tokenized
from enginehouse_plugin import Chat, EngineLoad, GenerationRequest, Tokenized, TokenizeRequest, Tokens
from enginehouse_plugin.errors import EngineError, EngineUnavailable

from . import body
from .chat import ChatDialect, needs_parsers
from .generation import Copies, Generation
from .model import Model
from .prompt import Prompter
from .server import Server


class VllmInstance(ProcessInstance):
    """A model that vLLM has loaded, in processes of its own."""

    engine = "vLLM"
    stop_grace_s = 10.0

    def __init__(self, child: Child, server: Server, model: Model) -> None:
        super().__init__(child, server)
        self.capabilities = model.capabilities
        self._server = server
        self._model = model
        self._prompter = Prompter(server, model)
        self._chat = ChatDialect(model)

    async def prepare(self, request: GenerationRequest) -> Begin:
        """See `ProcessInstance.prepare`."""
        body.check(request, self._model.vocabulary_size)
        begin: Begin
        if isinstance(request.prompt, Chat) and needs_parsers(request, self._model):
            thinking = await self._prompter.thinking(request.prompt, request)
            await self._chat.compile(request)
            server = self._server
            begin = partial(self._chat.start, server.client, request, server.model, thinking=thinking)
        else:
            prompt = await self._prompter.prompt(request)
            grammar = await ready_grammar(request, prompt.thinking, for_xgrammar=True)
            begin = Generation(self._server, self._model, request, prompt, grammar).start
        if body.is_copied(request):
            return lambda sink: begin(Copies(sink, request.n))
        return begin

    async def warm_up(self) -> None:
        """Generate with log probabilities, of one sequence and of two: at the first of each vLLM compiles code.

        Where it never has on this machine, and the processors are busy, that takes a minute: a request that met it
        would be taken for one that hangs.

        Raises:
            EngineError: the engine failed.
        """
        for n in (1, 2):
            request = GenerationRequest(id=f"warm-up-{n}", prompt=Tokens((0,)), n=n, max_tokens=1, logprobs=True)
            async for _ in self.generate(request):
                pass

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`."""
        return len((await self._prompter.prompt(request)).token_ids)

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        load = await self._server.load()
        return EngineLoad(running=load.running, waiting=load.waiting, cache_used=load.cache_used)

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self._prompter.tokenize(text)

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        """See `Tokenizer.tokenize_prompt`."""
        token_ids = (await self._prompter.prompt(wanted.request, special=wanted.special)).token_ids
        pieces = map(self._model.vocabulary.piece, token_ids) if wanted.texts else None
        return await asyncio.to_thread(tokenized, token_ids, pieces)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer.detokenize`."""
        check_tokens(token_ids, self._model.vocabulary_size)
        return await asyncio.to_thread(text_of, map(self._model.vocabulary.piece, token_ids))

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        load = await self._server.load()
        return load.running + load.waiting


class SleepableVllmInstance(VllmInstance):
    """A model that was loaded with the option `sleep`."""

    def __init__(self, child: Child, server: Server, model: Model) -> None:
        super().__init__(child, server, model)
        self._is_awake = True

    async def prepare(self, request: GenerationRequest) -> Begin:
        """See `ProcessInstance.prepare`; vLLM would keep a request until it wakes, and say nothing."""
        self._refuse_asleep()
        return await super().prepare(request)

    async def check_ready(self) -> None:
        """See `Instance.check_ready`."""
        await super().check_ready()
        self._refuse_asleep()

    async def sleep(self) -> None:
        """See `Sleepable.sleep`; what runs is let finish first."""
        self._is_awake = False
        try:
            await self._server.sleep()
        except EngineError:
            self._is_awake = not await self._server.is_sleeping()
            raise

    async def wake(self) -> None:
        """See `Sleepable.wake`; if it fails, the model sleeps on."""
        await self._server.wake()
        self._is_awake = True

    def _refuse_asleep(self) -> None:
        if not self._is_awake:
            raise EngineUnavailable("The model sleeps. Wake it before it is asked.")
