"""From a request's prompt to token ids, so that text of a user can never act as a control token."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse_plugin import Chat, GenerationRequest, NamedTool, Text, Tokens
from enginehouse_plugin.errors import InvalidRequest

from .messages import (
    TemplateFacts,
    TemplateMessage,
    calls_allowed,
    calls_required,
    template_messages,
    tool_json,
    tools_shown,
)
from .server import Server
from .thinking import State, state_after

# A stand-in for a control token's text while the template is rendered; these code points are unassigned for ever.
_STAND_IN = "\ufdd0{}\ufdd1"
_STAND_INS = re.compile("\ufdd0([0-9]+)\ufdd1")


class Prompt(msgspec.Struct, frozen=True):
    """A prompt as the engine takes it, and whether the model's reasoning goes on behind it."""

    token_ids: list[int]
    thinking: State


class Prompter:
    """Renders and tokenizes prompts for one loaded model."""

    def __init__(
        self, server: Server, facts: TemplateFacts, control_tokens: Iterable[str], vocabulary_size: int
    ) -> None:
        self._server = server
        self._facts = facts
        self._vocabulary_size = vocabulary_size
        longest_first = sorted(control_tokens, key=len, reverse=True)
        self._controls = re.compile("|".join([*map(re.escape, longest_first), "[\ufdd0\ufdd1]"]))
        self._plain_ids: dict[str, list[int]] = {}

    async def prompt(self, request: GenerationRequest) -> Prompt:
        """The whole prompt, template included.

        Raises:
            InvalidRequest: the template refuses the messages, or a token id is not of this vocabulary.
        """
        if isinstance(request.prompt, Tokens):
            return Prompt(self._checked(request.prompt.token_ids), "never")
        if isinstance(request.prompt, Text):
            text = request.prompt.text
            return Prompt(await self._server.tokenize(text, parse_special=True, add_special=True), "never")
        return await self._chat(request.prompt, request)

    async def _chat(self, chat: Chat, request: GenerationRequest) -> Prompt:
        messages = template_messages(chat.messages, self._facts, self._instructions(request))
        hidden: list[str] = []
        messages = [self._hide_controls(message, hidden) for message in messages]
        body: dict[str, Any] = {"messages": messages}
        if request.tools and request.tool_choice != "none" and self._facts.tools:
            body["tools"] = self._hide_in_json([tool_json(tool) for tool in request.tools], hidden)
        variables = request.chat_template_kwargs or {}
        self._check_variables(variables)
        if "enable_thinking" in self._facts.variables and request.reasoning_effort != "none":
            # The engine always sets this one, to false for templates that it does not know; unset means yes.
            variables = {"enable_thinking": True, **variables}
        if variables:
            body["chat_template_kwargs"] = variables
        if request.reasoning_effort is not None:
            body["reasoning_effort"] = request.reasoning_effort
        rendered = await self._server.apply_template(body)
        thinking = state_after(rendered, self._facts.thinking)
        if not hidden:
            return Prompt(await self._server.tokenize(rendered, parse_special=True, add_special=True), thinking)
        pieces: list[str | int] = []
        for at, part in enumerate(_STAND_INS.split(rendered)):
            if at % 2:
                pieces.extend(await self._plain(hidden[int(part)]))
            elif part:
                pieces.append(part)
        return Prompt(await self._server.tokenize(pieces, parse_special=True, add_special=True), thinking)

    def _check_variables(self, variables: dict[str, Any]) -> None:  # JSON
        """Refuse variables that the template would ignore."""
        for name in variables:
            if name not in self._facts.variables:
                raise InvalidRequest(
                    f"This model's chat template has no variable '{name}'; it has "
                    f"{', '.join(sorted(self._facts.variables)) or 'none'}.",
                    param=f"chat_template_kwargs.{name}",
                )

    def _instructions(self, request: GenerationRequest) -> str | None:
        """What the model must be told about tools and its template does not say."""
        if not request.tools or request.tool_choice == "none":
            return None
        parts = [] if self._facts.tools else [tools_shown(request.tools)]
        if isinstance(request.tool_choice, NamedTool):
            parts.append(calls_required(request.tool_choice.name, request.parallel_tool_calls))
        elif request.tool_choice == "required":
            parts.append(calls_required(None, request.parallel_tool_calls))
        elif not self._facts.tools:
            parts.append(calls_allowed(request.parallel_tool_calls))
        return "\n\n".join(parts) or None

    def _hide_controls(self, message: TemplateMessage, hidden: list[str]) -> TemplateMessage:
        return msgspec.structs.replace(
            message,
            content=self._hide(message.content, hidden),
            reasoning_content=self._hide(message.reasoning_content, hidden) if message.reasoning_content else None,
            tool_calls=self._hide_in_json(message.tool_calls, hidden) if message.tool_calls else None,
        )

    def _hide(self, text: str, hidden: list[str]) -> str:
        """Replace texts of control tokens by stand-ins, and note them in *hidden*."""

        def stand_in(found: re.Match[str]) -> str:
            hidden.append(found.group())
            return _STAND_IN.format(len(hidden) - 1)

        return self._controls.sub(stand_in, text)

    def _hide_in_json(self, value: Any, hidden: list[str]) -> Any:  # Any: JSON
        raw = msgspec.json.encode(value).decode()
        return msgspec.json.decode(self._hide(raw, hidden)) if self._controls.search(raw) else value

    async def _plain(self, text: str) -> list[int]:
        """Token ids of a control token's text as mere text."""
        if text not in self._plain_ids:
            self._plain_ids[text] = await self._server.tokenize(text, parse_special=False)
        return self._plain_ids[text]

    def _checked(self, token_ids: tuple[int, ...]) -> list[int]:
        for at, token_id in enumerate(token_ids):
            if not 0 <= token_id < self._vocabulary_size:
                raise InvalidRequest(
                    f"Token id {token_id} is not in the vocabulary (0 to {self._vocabulary_size - 1}).",
                    param=f"prompt[{at}]",
                )
        return list(token_ids)
