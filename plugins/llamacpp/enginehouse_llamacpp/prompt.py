"""From a request's prompt to token ids, so that text of a user can never act as a control token."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_kit.text.bounds import apart, check_chat, check_length, checked_ids
from enginehouse_kit.text.chat_messages import check_variables, instructions, template_messages, tool_json
from enginehouse_kit.text.control_text import ControlText
from enginehouse_kit.text.filling import opening_of
from enginehouse_kit.text.thinking import State, state_after
from enginehouse_plugin import Chat, GenerationRequest, Text, Tokens
from enginehouse_plugin.errors import UnsupportedFeature

from .model import Model
from .server import Server

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
        self._model = model
        self._facts = model.template
        self._controls = model.control_finder
        self._plain_ids: dict[str, list[int]] = {}

    async def prompt(self, request: GenerationRequest, *, special: bool = True) -> Prompt:
        """The whole prompt, template included. Without *special* a text gets no tokens around it.

        Raises:
            InvalidRequest: the template refuses the messages, or a token id is not of this vocabulary.
            ContextTooLong: however the text is tokenized, it cannot fit; a shorter one is the caller's to check.
        """
        if request.suffix and not isinstance(request.prompt, Chat):
            return Prompt(await self._filled_in(request.prompt, request.suffix), "never")
        if isinstance(request.prompt, Tokens):
            return Prompt(checked_ids(request.prompt.token_ids, self._model.vocabulary_size), "never")
        if isinstance(request.prompt, Text):
            text = request.prompt.text
            self._check_length(text)
            return Prompt(await self._server.tokenize(text, parse_special=True, add_special=special), "never")
        return await self._chat(request.prompt, request)

    async def _chat(self, chat: Chat, request: GenerationRequest) -> Prompt:
        size_bytes = check_chat(chat, self._model.context_tokens, self._model.longest_token_bytes, request.tools)
        controls = ControlText(self._controls)
        body = await apart(size_bytes, lambda: self._body(chat, request, controls))
        begun = body["messages"].pop().content if request.continue_final_message else ""
        rendered = await self._server.apply_template(body) + begun
        self._check_length(rendered)
        thinking = state_after(rendered, self._facts.thinking)
        pieces: list[str | int] = []
        for text, is_plain in controls.pieces(rendered):
            if is_plain:
                pieces.extend(await self._plain(text))
            else:
                pieces.append(text)
        return Prompt(await self._server.tokenize(pieces, parse_special=True, add_special=True), thinking)

    def _body(self, chat: Chat, request: GenerationRequest, controls: ControlText) -> dict[str, Any]:
        """What the engine renders."""
        messages = template_messages(chat.messages, self._facts, instructions(request, self._facts))
        messages = [controls.hide_in_message(message) for message in messages]
        body: dict[str, Any] = {"messages": messages}
        if request.tools and request.tool_choice != "none" and self._facts.tools:
            body["tools"] = controls.hide_in_json([tool_json(tool) for tool in request.tools])
        variables = request.chat_template_kwargs or {}
        check_variables(variables, self._facts, reasons=self._facts.thinking)
        if "enable_thinking" in self._facts.variables and request.reasoning_effort != "none":
            # The engine always sets this one, to false for templates that it does not know; unset means yes.
            variables = {"enable_thinking": True, **variables}
        if variables:
            body["chat_template_kwargs"] = variables
        if request.reasoning_effort is not None:
            body["reasoning_effort"] = request.reasoning_effort
        return body

    async def _filled_in(self, given: Text | Tokens, suffix: str) -> list[int]:
        """The prompt of a text between *given* and *suffix*."""
        filling = self._model.filling
        if filling is None:
            raise UnsupportedFeature("suffix", param="suffix")
        text = given.text if isinstance(given, Text) else ""
        self._check_length(text + suffix)
        whole = await self._server.tokenize(_PROBE, parse_special=False, add_special=True)
        opening = opening_of(whole, await self._plain(_PROBE))
        if isinstance(given, Tokens):
            before = checked_ids(given.token_ids, self._model.vocabulary_size)
        else:
            before = await self._server.tokenize(text, parse_special=False)
        return filling.prompt(opening, before, await self._server.tokenize(suffix, parse_special=False))

    def _check_length(self, text: str) -> None:
        if self._model.longest_token_bytes is not None:
            check_length([text], self._model.context_tokens, self._model.longest_token_bytes)

    async def _plain(self, text: str) -> list[int]:
        """Token ids of a control token's text as mere text."""
        if text not in self._plain_ids:
            self._plain_ids[text] = await self._server.tokenize(text, parse_special=False)
        return self._plain_ids[text]
