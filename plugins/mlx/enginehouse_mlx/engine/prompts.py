"""From a request's prompt to token ids, so that text of a user can never act as a control token."""

from __future__ import annotations

from typing import Any

import jinja2
import msgspec

from enginehouse_kit.text.bounds import check_chat, check_length, checked_ids
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

from .templates import ModelTemplate
from .vocabulary import Vocabulary

_PROBE = "a"
"""A text whose tokens show what the model wants before each."""


class Prompt(msgspec.Struct, frozen=True):
    """A prompt's token ids, and whether the model's reasoning goes on behind it."""

    token_ids: list[int]
    thinking: State


class Prompter:
    """Renders and tokenizes prompts for one model. Not to be used by two threads at once: the tokenizer has a state."""

    def __init__(
        self, tokenizer: Any, template: ModelTemplate, vocabulary: Vocabulary, context_tokens: int
    ) -> None:  # Any: mlx_lm has no types
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._template = template
        self._vocabulary = vocabulary
        self._controls = ControlFinder(vocabulary.control_ids.values())

    def prompt(self, request: GenerationRequest, *, special: bool = True) -> Prompt:
        """The whole prompt, template included. Without *special* a text gets no tokens around it.

        Raises:
            InvalidRequest: the template refuses the messages, or a token is not of this vocabulary.
            ContextTooLong: however the text is tokenized, it cannot fit; a shorter one is the caller's to check.
        """
        if request.suffix and not isinstance(request.prompt, Chat):
            prompt = Prompt(self._filled_in(request.prompt, request.suffix), "never")
        elif isinstance(request.prompt, Tokens):
            prompt = Prompt(checked_ids(request.prompt.token_ids, self._vocabulary.size), "never")
        elif isinstance(request.prompt, Text):
            self._check_length(request.prompt.text)
            prompt = Prompt(self._tokenizer.encode(request.prompt.text, add_special_tokens=special), "never")
        else:
            prompt = self._chat(request.prompt, request)
        if not prompt.token_ids:
            raise InvalidRequest("The prompt has no tokens.", param="messages")
        if max(prompt.token_ids) >= self._vocabulary.size:
            lacking = self._tokenizer.decode([max(prompt.token_ids)])
            raise InvalidRequest(f"The prompt has the token '{lacking}', which this model lacks.", param="messages")
        return prompt

    def tokenize(self, text: str) -> list[int]:
        """Token ids of *text*, in which nothing acts as a control token."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids

    def _filled_in(self, given: Text | Tokens, suffix: str) -> list[int]:
        """The prompt of a text between *given* and *suffix*."""
        filling = self._vocabulary.filling
        if filling is None:
            raise UnsupportedFeature("suffix", param="suffix")
        text = given.text if isinstance(given, Text) else ""
        self._check_length(text + suffix)
        opening = opening_of(self._tokenizer.encode(_PROBE), self.tokenize(_PROBE))
        if isinstance(given, Tokens):
            before = checked_ids(given.token_ids, self._vocabulary.size)
        else:
            before = self.tokenize(text)
        return filling.prompt(opening, before, self.tokenize(suffix))

    def _chat(self, chat: Chat, request: GenerationRequest) -> Prompt:
        check_chat(chat, self._context_tokens, self._vocabulary.longest_bytes)
        facts = self._template.facts
        controls = ControlText(self._controls)
        messages = template_messages(chat.messages, facts, instructions(request, facts))
        messages = [controls.hide_in_message(message) for message in messages]
        begun = messages.pop().content if request.continue_final_message else ""
        shown = [_plain(message) for message in messages]
        variables = self._variables(request)
        if request.tools and request.tool_choice != "none" and facts.tools:
            variables["tools"] = controls.hide_in_json([tool_json(tool) for tool in request.tools])
        try:
            rendered = self._tokenizer.apply_chat_template(
                shown, tokenize=False, add_generation_prompt=True, **variables
            )
            rendered += begun
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise InvalidRequest(
                f"This model's chat template refuses the messages: {error}", param="messages"
            ) from error
        self._check_length(rendered)
        ids: list[int] = []
        for text, is_plain in controls.pieces(rendered):
            ids += self.tokenize(text) if is_plain else self._tokenizer.encode(text, add_special_tokens=False)
        return Prompt(ids, state_after(rendered, facts.thinking, self._template.marks))

    def _check_length(self, text: str) -> None:
        check_length([text], self._context_tokens, self._vocabulary.longest_bytes)

    def _variables(self, request: GenerationRequest) -> dict[str, Any]:  # JSON
        """Variables for the template; those that it would ignore are refused."""
        facts = self._template.facts
        given = dict(request.chat_template_kwargs or {})
        check_variables(given, facts, reasons=facts.thinking)
        if "enable_thinking" in facts.variables:
            given.setdefault("enable_thinking", request.reasoning_effort != "none")
        if request.reasoning_effort is not None:
            given["reasoning_effort"] = request.reasoning_effort
        return given


def _plain(message: TemplateMessage) -> dict[str, Any]:  # JSON
    """*message* as templates on the hub expect it: arguments of calls as objects."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    for call in plain.get("tool_calls") or ():
        function = call["function"]
        try:
            function["arguments"] = msgspec.json.decode(function["arguments"] or "{}")
        except msgspec.MsgspecError:
            continue  # no JSON, from whoever wrote it: shown as it is
    return plain
