"""From a request's prompt to token ids, so that text of a user can never act as a control token."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_kit.text.bounds import apart, check_chat, check_length, checked_ids
from enginehouse_kit.text.chat_messages import (
    TemplateMessage,
    check_variables,
    instructions,
    template_messages,
    tool_json,
)
from enginehouse_kit.text.control_text import ControlFinder, ControlText
from enginehouse_kit.text.filling import opening_of
from enginehouse_kit.text.thinking import State, state_after
from enginehouse_plugin import Chat, GenerationRequest, Text, Tokens
from enginehouse_plugin.errors import InvalidRequest, UnsupportedFeature

from .model import Model
from .server import Body, Server

_TAIL = 24  # tokens that hold the end of a prompt, marks of reasoning included

_PROBE = "a"
"""A text whose tokens show what the model wants before each."""


class Prompt(msgspec.Struct, frozen=True):
    """A prompt as the engine takes it, and whether the model's reasoning goes on behind it."""

    token_ids: list[int]
    thinking: State


class Prompter:
    """Renders and tokenizes prompts for one loaded model."""

    def __init__(self, server: Server, model: Model) -> None:
        self._server = server
        self._facts = model.template
        self._model = model
        self._controls = ControlFinder(model.control_tokens)
        self._plain_ids: dict[str, list[int]] = {}

    async def prompt(self, request: GenerationRequest, *, special: bool = True) -> Prompt:
        """The whole prompt, template included. Without *special* a text gets no tokens around it.

        Raises:
            InvalidRequest: the template refuses the messages, or a token id is not of this vocabulary.
        """
        if request.suffix and not isinstance(request.prompt, Chat):
            return Prompt(await self._filled_in(request.prompt, request.suffix), "never")
        if isinstance(request.prompt, Tokens):
            return Prompt(checked_ids(request.prompt.token_ids, self._model.vocabulary_size), "never")
        if isinstance(request.prompt, Text):
            if longest := self._model.vocabulary.longest_bytes:
                check_length([request.prompt.text], self._model.context_tokens, longest)
            return Prompt(await self._server.tokenize(request.prompt.text, add_special=special), "never")
        controls = ControlText(self._controls)
        body, is_hidden = await self._checked_body(request.prompt, request, controls)
        token_ids = await self._server.tokenize_chat(body)
        if is_hidden:
            token_ids = await self._with_plain_text(token_ids, controls)
        if request.continue_final_message:
            token_ids += await self.tokenize(template_messages(request.prompt.messages, self._facts, None)[-1].content)
        return Prompt(token_ids, await self._thinking_behind(token_ids))

    async def _filled_in(self, given: Text | Tokens, suffix: str) -> list[int]:
        """The prompt of a text between *given* and *suffix*."""
        filling = self._model.filling
        if filling is None:
            raise UnsupportedFeature("suffix", param="suffix")
        text = given.text if isinstance(given, Text) else ""
        if longest := self._model.vocabulary.longest_bytes:
            check_length([text, suffix], self._model.context_tokens, longest)
        opening = opening_of(await self._server.tokenize(_PROBE, add_special=True), await self._plain(_PROBE))
        if isinstance(given, Tokens):
            before = checked_ids(given.token_ids, self._model.vocabulary_size)
        else:
            before = await self.tokenize(text)
        return filling.prompt(opening, before, await self.tokenize(suffix))

    async def thinking(self, chat: Chat, request: GenerationRequest) -> State:
        """Whether the model's reasoning goes on behind *chat*, for a request whose prompt vLLM itself renders.

        Raises:
            InvalidRequest: the template refuses the messages.
            ContextTooLong: they cannot fit, however they are rendered.
        """
        if not self._facts.thinking:
            self._check(chat, request)
            return "never"
        body, _ = await self._checked_body(chat, request, ControlText(self._controls))
        return await self._thinking_behind(await self._server.tokenize_chat(body))

    async def _thinking_behind(self, token_ids: list[int]) -> State:
        if not self._facts.thinking:
            return "never"
        return state_after(await self._server.detokenize(token_ids[-_TAIL:]), True)

    async def _checked_body(self, chat: Chat, request: GenerationRequest, controls: ControlText) -> tuple[Body, bool]:
        """`_body`, for a conversation that may fit."""
        return await apart(self._check(chat, request), lambda: self._body(chat, request, controls))

    def _check(self, chat: Chat, request: GenerationRequest) -> int:
        return check_chat(chat, self._model.context_tokens, self._model.vocabulary.longest_bytes, request.tools)

    def _body(self, chat: Chat, request: GenerationRequest, controls: ControlText) -> tuple[Body, bool]:
        """What is rendered, and whether it holds stand-ins for texts of control tokens."""
        written = template_messages(chat.messages, self._facts, instructions(request, self._facts))
        if request.continue_final_message:
            written.pop()
        messages = [controls.hide_in_message(message) for message in written]
        body: Body = {"messages": [message_body(message) for message in messages]}
        is_hidden = messages != written
        if request.tools and request.tool_choice != "none" and self._facts.tools:
            tools = [tool_json(tool) for tool in request.tools]
            body["tools"] = controls.hide_in_json(tools)
            is_hidden = is_hidden or body["tools"] != tools
        variables = template_variables(request, self._model)
        if variables:
            body["chat_template_kwargs"] = variables
        return body, is_hidden

    async def _with_plain_text(self, token_ids: list[int], controls: ControlText) -> list[int]:
        """Put the texts of control tokens, as mere text, where *token_ids* have stand-ins."""
        rendered = await self._server.detokenize(token_ids)
        if await self._server.tokenize(rendered) != token_ids:
            raise InvalidRequest(
                "A message holds the text of one of this model's control tokens, and its tokenizer cannot tell the two "
                "apart. Change that text.",
                param="messages",
            )
        found: list[int] = []
        for text, is_plain in controls.pieces(rendered):
            found.extend(await self._plain(text) if is_plain else await self._server.tokenize(text))
        return found

    async def _plain(self, text: str) -> list[int]:
        """Token ids of a control token's text as mere text."""
        if text not in self._plain_ids:
            self._plain_ids[text] = await self.tokenize(text)
        return self._plain_ids[text]

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of *text*, in which control tokens are mere text: cut behind their first character, they are none.

        vLLM has no way to ask for that.
        """
        found: list[int] = []
        start = 0
        control = self._controls.search(text)
        while control is not None:
            cut = control.start() + 1
            found += await self._server.tokenize(text[start:cut])
            start = cut
            control = self._controls.search(text, start)  # what is left of this one may begin another
        return found + await self._server.tokenize(text[start:]) if start < len(text) else found


def template_variables(request: GenerationRequest, model: Model) -> dict[str, Any]:  # JSON
    """What the request sets of the template's own variables.

    Raises:
        InvalidRequest: the template would ignore one.
    """
    facts = model.template
    variables = dict(request.chat_template_kwargs or {})
    check_variables(variables, facts, reasons="reasoning" in model.capabilities.features)
    if request.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", request.reasoning_effort)
    if "enable_thinking" in facts.variables:  # unset means yes, as on other engines: templates differ in it
        variables.setdefault("enable_thinking", request.reasoning_effort != "none")
    return variables


def message_body(message: TemplateMessage) -> Body:
    """*message* as vLLM takes it: it calls a past message's reasoning `reasoning`."""
    body: Body = msgspec.to_builtins(message)
    if "reasoning_content" in body:
        body["reasoning"] = body.pop("reasoning_content")
    return body
