"""The seams of the stub's engine: each method is right, and a mutant replaces one of them."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable, Sequence

from enginehouse_plugin import (
    AnyEvent,
    Chat,
    FinishReason,
    GenerationRequest,
    JsonObject,
    JsonSchema,
    NamedTool,
    Run,
    Sink,
    Start,
    Text,
    TokenLogprob,
    Tokens,
    Tool,
)

from . import grammar, model, sampling, schema, vocabulary
from .output import TextOutput
from .template import render


class EngineParts:
    """What the engine does, step by step."""

    def accept(self, request: GenerationRequest) -> GenerationRequest:
        """The request as the engine sees it. A mutant that ignores a field drops it here."""
        return request

    def start(self, start: Start, request: GenerationRequest, sink: Sink) -> Run:
        """The run of a request; a mutant stands between it and *sink*."""
        return start(request, sink)

    def prompt_tokens(self, request: GenerationRequest) -> list[int]:
        """The prompt after the chat template."""
        if isinstance(request.prompt, Text):
            return vocabulary.encode(request.prompt.text)
        if isinstance(request.prompt, Tokens):
            return list(request.prompt.token_ids)
        variables = request.chat_template_kwargs or {}
        return render(request.prompt, request.tools, variables, is_open=request.continue_final_message)

    def cached_tokens(self, prompt: Sequence[int], earlier: Iterable[Sequence[int]]) -> int:
        """How many tokens at the beginning of *prompt* need not be computed again, after *earlier* prompts."""
        return max((_common(prompt, other) for other in earlier), default=0)

    def fit_prompt(self, tokens: list[int], context_tokens: int) -> list[int]:
        """The prompt to use; a mutant cuts it here. The right engine refuses instead, later."""
        del context_tokens
        return tokens

    def logits(self, state: int, position: int, request: GenerationRequest, is_structured: bool) -> Sequence[float]:
        """Raw logits."""
        del request
        return model.logits(state, position, is_structured)

    def adjusted(self, logits: Sequence[float], request: GenerationRequest, output: Sequence[int]) -> list[float]:
        """Raw logits with bias and penalties; *output* are the tokens so far, all of them."""
        values = sampling.biased(logits, request.logit_bias)
        if not (request.frequency_penalty or request.presence_penalty):
            return values
        counts: dict[int, int] = {}
        for token in output:
            counts[token] = counts.get(token, 0) + 1
        return sampling.penalised(values, counts, request.frequency_penalty, request.presence_penalty)

    def repeated(
        self, logits: list[float], request: GenerationRequest, prompt: Sequence[int], output: Sequence[int]
    ) -> list[float]:
        """*logits* with repetition_penalty, over *prompt* and *output*."""
        if request.repetition_penalty == 1.0:
            return logits
        return sampling.repeated(logits, (*prompt, *output), request.repetition_penalty)

    def held_open(self, logits: list[float], request: GenerationRequest, output: Sequence[int]) -> list[float]:
        """*logits* without the ends of a turn, where the request does not want one yet."""
        if not (request.ignore_eos or len(output) < request.min_tokens):
            return logits
        return [sampling.BANNED if self.ends(token) else value for token, value in enumerate(logits)]

    def rng(self, request: GenerationRequest, choice: int, entropy: random.Random) -> random.Random:
        """The source of chance of a choice; *entropy* where no seed is given."""
        seed = entropy.random() if request.seed is None else f"{request.seed}/{choice}"
        return random.Random(seed)  # noqa: S311  # sampling

    def sampled(self, logits: list[float], request: GenerationRequest, rng: random.Random) -> int:
        """The next token."""
        return sampling.sampled(logits, request, rng)

    def entry(self, logits: Sequence[float], token: int, request: GenerationRequest) -> TokenLogprob:
        """The log probability of *token*, from raw logits."""
        return sampling.entry(logits, token, request.top_logprobs)

    def text_output(self, request: GenerationRequest) -> TextOutput:
        """What turns tokens into text and finds stop strings."""
        return TextOutput(request.stop)

    def output_grammar(self, request: GenerationRequest) -> grammar.Node | None:
        """The grammar of the content, None for free text."""
        if isinstance(request.output, JsonObject):
            return schema.any_object()
        if isinstance(request.output, JsonSchema):
            return schema.grammar_of(request.output.schema)
        return None

    def arguments_grammar(self, tool: Tool) -> grammar.Node:
        """The grammar of a call's arguments; what it cannot say is left out where the tool is not strict."""
        if tool.parameters is None:
            return grammar.Lit(b"{}")
        return schema.grammar_of(tool.parameters, is_lenient=not tool.strict)

    def tools_to_call(self, request: GenerationRequest, rng: random.Random) -> tuple[Tool, ...]:
        """The tools of the calls that will be made.

        `auto` calls what the last message mentions by name, as a model that wants to please would; `required`
        calls two where that is allowed and there are two.
        """
        if isinstance(request.tool_choice, NamedTool):
            name = request.tool_choice.name
            return tuple(tool for tool in request.tools if tool.name == name)
        if request.tool_choice == "required":
            wanted = 2 if request.parallel_tool_calls else 1
            if request.temperature == 0:
                return request.tools[:wanted]
            return tuple(rng.sample(request.tools, min(wanted, len(request.tools))))
        if request.tool_choice == "auto" and isinstance(request.prompt, Chat):
            last = str(request.prompt.messages[-1].content)
            return tuple(tool for tool in request.tools if tool.name in last)[:1]
        return ()

    def call_id(self, choice: int, index: int, entropy: random.Random) -> str:
        """A new id for a call."""
        return f"call_{choice}{index}{entropy.getrandbits(48):012x}"

    def reasoning_tokens(self, request: GenerationRequest) -> int:
        """How many tokens of reasoning come before the answer."""
        return {"minimal": 2, "low": 4, "medium": 8, "high": 12, "xhigh": 16}.get(request.reasoning_effort or "none", 0)

    def ends(self, token: int) -> bool:
        """Whether *token* ends the turn."""
        return token in (vocabulary.EOS, vocabulary.END_TURN)

    def finish(self, reason: FinishReason, *, is_call: bool) -> FinishReason:
        """The finish reason to tell: a complete call is `tool_calls`, a cut one `length`."""
        return "tool_calls" if is_call and reason == "stop" else reason

    async def events(
        self, events: AsyncGenerator[AnyEvent, None], request: GenerationRequest
    ) -> AsyncGenerator[AnyEvent, None]:
        """The events as they leave the engine, for faults in their order."""
        del request
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of what *left* and *right* begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
