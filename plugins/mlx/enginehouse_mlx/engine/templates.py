"""What a model's chat template has a place for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.sandbox
import msgspec

from enginehouse_kit.text.chat_messages import CALL_OPENS, TemplateFacts
from enginehouse_kit.text.thinking import MARKS, Marks
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import LoadFailed

_GIVEN = frozenset(
    [
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "continue_final_message",
        "bos_token",
        "eos_token",
        "pad_token",
        "unk_token",
        "raise_exception",
        "strftime_now",
        "tojson",
        "namespace",
        "range",
        "loop",
        "reasoning_effort",
    ]
)
"""Names in templates that a request has other words for, or that transformers defines."""


class CallFormat(msgspec.Struct, frozen=True):
    """The form of calls that the model's template teaches, with mlx_lm's parser of what stands between the marks.

    `closes` is empty where a call goes on to the end of the text.
    """

    opens: str
    closes: str
    parse: Callable[..., Any]  # mlx_lm has no types


class ModelTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """The template's facts; `calls` None means the form of the adapter's own (`<tool_call>` with JSON)."""

    facts: TemplateFacts
    marks: Marks
    calls: CallFormat | None
    has_effort: bool

    def reads_own_calls(self, request: GenerationRequest) -> bool:
        """Whether calls in the answer to *request* have the form that the template teaches."""
        return self.calls is not None and bool(request.tools) and request.tool_choice == "auto" and not request.output

    @property
    def visible_marks(self) -> tuple[str, ...]:
        """Marks that are read in the text, though they may be control tokens."""
        calls = (self.calls.opens, self.calls.closes) if self.calls is not None else (CALL_OPENS, "</tool_call>")
        return tuple(mark for mark in (*self.marks, *calls) if mark)


def read_template(tokenizer: Any, override: str | None) -> ModelTemplate:  # mlx_lm's wrapper, untyped
    """Read the template of *tokenizer*, after putting *override* in its place if there is one.

    Raises:
        LoadFailed: there is none, or it is no valid Jinja.
    """
    if override is not None:
        tokenizer.chat_template = override
        tokenizer._chat_template = None  # mlx_lm's own function for models without a template
    text = _text(tokenizer)
    if not text and not tokenizer.has_chat_template:
        raise LoadFailed(
            "This model has no chat template (a base model, perhaps). Give it one by the option chat_template or "
            "chat_template_file, or take the model's instruct version.",
            retryable=False,
            code="no_chat_template",
        )
    names = _variables(text)
    marks: Marks = (tokenizer.think_start, tokenizer.think_end) if tokenizer.has_thinking else MARKS
    own_form = CALL_OPENS in text and '"arguments"' in text and "<function=" not in text
    calls = None
    if tokenizer.has_tool_calling and not own_form:
        calls = CallFormat(tokenizer.tool_call_start, tokenizer.tool_call_end or "", tokenizer.tool_parser)
    knows_calls = own_form or calls is not None
    return ModelTemplate(
        facts=TemplateFacts(
            tools=knows_calls and (not text or "tools" in names),
            tool_calls=knows_calls and (not text or "tool_calls" in text),
            reasoning="reasoning_content" in text,
            thinking=marks[0] in text or (not text and bool(tokenizer.has_thinking)),
            variables=frozenset(names - _GIVEN),
        ),
        marks=marks,
        calls=calls,
        has_effort="reasoning_effort" in names,
    )


def _text(tokenizer: Any) -> str:  # mlx_lm's wrapper, untyped
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several by name
        template = template.get("default")
    return template if isinstance(template, str) else ""


def _variables(text: str) -> set[str]:
    """Names that the template reads and does not set."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(extensions=[jinja2.ext.loopcontrols])
    try:
        # `generation` is a tag of transformers' own, around what the assistant says.
        plain = text
        for tag in ("generation", "endgeneration"):
            for left in ("{%", "{%-"):
                for right in ("%}", "-%}"):
                    plain = plain.replace(f"{left} {tag} {right}", "")
        return jinja2.meta.find_undeclared_variables(environment.parse(plain))
    except jinja2.TemplateError as error:
        raise LoadFailed(
            f"The chat template is not valid: {error}", retryable=False, code="bad_chat_template"
        ) from error
