"""From items to the contract's messages: what a turn of the assistant has reasoned, said and called is one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from enginehouse.dialects.openai.responses.items import (
    AudioInput,
    CustomToolCallItem,
    CustomToolCallOutputItem,
    FileInput,
    FunctionCallItem,
    FunctionCallOutputItem,
    GivenOutputText,
    GivenRefusal,
    Hosted,
    ImageInput,
    InputMessage,
    MessagePart,
    ReasoningItem,
    TextInput,
)
from enginehouse.dialects.openai.responses.left_out import LeftOut
from enginehouse.dialects.openai.responses.rules import invalid
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

_encode = msgspec.json.Encoder().encode
Opened = Callable[[str], str | None]


def custom_arguments(text: str) -> str:
    """The arguments of the function that a custom tool is to the model, for the input *text*."""
    return _encode({"input": text}).decode()


def only_text(text: str, instructions: str | None) -> tuple[contract.Message, ...]:
    """The messages of a conversation that is one text of the user's, as most are."""
    said = contract.UserMessage(text)
    return (said,) if instructions is None else (contract.SystemMessage(instructions), said)


class Conversation:
    """Gathers messages; *opened* reads reasoning that a client carried."""

    def __init__(self, left_out: LeftOut, opened: Opened) -> None:
        self._left_out = left_out
        self._opened = opened
        self._messages: list[contract.Message] = []
        self._called: set[str] = set()
        self._reasoning: list[str] = []
        self._content: str | None = None
        self._refusal: str | None = None
        self._calls: list[contract.ToolCall] = []

    def messages(self, instructions: str | None) -> tuple[contract.Message, ...]:
        """Return the messages, behind *instructions*; many templates take one system message alone, so those join.

        Raises:
            InvalidRequest: there is nothing that a model could answer.
        """
        self._end_turn()
        messages = self._messages
        if not messages:
            raise invalid("input", "it has nothing for the model")
        if instructions is None:
            return tuple(messages)
        texts = [instructions]
        at = 0
        for at, message in enumerate(messages):  # noqa: B007  # used behind the loop
            leads = isinstance(message, contract.SystemMessage | contract.DeveloperMessage)
            if not leads or not isinstance(message.content, str):
                break
            texts.append(message.content)
        else:
            at = len(messages)
        return (contract.SystemMessage("\n\n".join(texts)), *messages[at:])

    def add_text(self, text: str) -> None:
        """Take an input that is text alone: the user's."""
        self._end_turn()
        self._messages.append(contract.UserMessage(text))

    def add(self, items: Sequence[Any], *, where: str | None = "input") -> None:
        """Take *items*, any of the structs of items but references; *where* they stand, None: in what was kept.

        Raises:
            InvalidRequest: naming the first that does not fit.
        """
        for at, item in enumerate(items):
            kind = type(item)
            if kind is InputMessage:
                self._message(item, at)
            elif kind is FunctionCallItem:
                self._call(item.call_id, item.name, item.arguments)
            elif kind is FunctionCallOutputItem or kind is CustomToolCallOutputItem:
                self._output(item, at)
            elif kind is CustomToolCallItem:
                self._call(item.call_id, item.name, custom_arguments(item.input))
            elif kind is ReasoningItem:
                self._reason(item, where)
            elif isinstance(item, Hosted):
                tag = str(item.__struct_config__.tag)
                self._left_out.add(
                    f"input[{at}].type", f"is '{tag}', which only a vendor's cloud has", shown=f"input[].{tag}"
                )

    def _message(self, item: InputMessage, at: int) -> None:
        role, content = item.role, item.content
        if role == "assistant":
            if self._content is not None or self._refusal is not None or self._calls:
                self._end_turn()
            self._say(content, at)
            return
        self._end_turn()
        given = content if isinstance(content, str) else self._parts(content, at, role)
        if role == "user":
            self._messages.append(contract.UserMessage(given))
        elif role == "system":
            self._messages.append(contract.SystemMessage(given))
        else:
            self._messages.append(contract.DeveloperMessage(given))

    def _say(self, content: str | tuple[MessagePart, ...], at: int) -> None:
        if isinstance(content, str):
            self._content = content
            return
        texts: list[str] = []
        for index, part in enumerate(content):
            if isinstance(part, GivenOutputText | TextInput):
                texts.append(part.text)
            elif isinstance(part, GivenRefusal):
                self._refusal = (self._refusal or "") + part.refusal
            else:
                raise _no_such_part(part, at, index, "'output_text' and 'refusal'")
        if texts or self._refusal is None:
            self._content = "".join(texts)

    def _parts(self, parts: Sequence[MessagePart], at: int, role: str) -> contract.Content:
        if len(parts) == 1 and isinstance(parts[0], TextInput | GivenOutputText):
            return parts[0].text
        made: list[contract.ContentPart] = []
        for index, part in enumerate(parts):
            if isinstance(part, TextInput | GivenOutputText):
                made.append(contract.TextPart(part.text))
            elif role != "user":
                raise _no_such_part(part, at, index, "'input_text'")
            else:
                made.append(_given(part, f"input[{at}].content[{index}]"))
        return tuple(made) or ""

    def _call(self, call_id: str, name: str, arguments: str) -> None:
        self._called.add(call_id)
        self._calls.append(contract.ToolCall(call_id, contract.FunctionCall(name, arguments)))

    def _output(self, item: FunctionCallOutputItem | CustomToolCallOutputItem, at: int) -> None:
        if item.call_id not in self._called:
            raise invalid(f"input[{at}].call_id", "no earlier item is a call with this id")
        self._end_turn()
        output = item.output
        content: contract.Content
        if isinstance(output, str):
            content = output
        elif len(output) == 1 and isinstance(output[0], TextInput):
            content = output[0].text
        else:
            content = tuple(_given(part, f"input[{at}].output[{index}]") for index, part in enumerate(output)) or ""
        self._messages.append(contract.ToolMessage(content, item.call_id))

    def _reason(self, item: ReasoningItem, where: str | None) -> None:
        if self._content is not None or self._refusal is not None or self._calls:
            self._end_turn()
        sealed = item.encrypted_content
        text = None if sealed is None else self._opened(sealed)
        if text is None and item.content:
            text = "".join(part.text for part in item.content)
        if text is None and item.summary:
            text = "\n\n".join(part.text for part in item.summary)
        if text is not None:
            self._reasoning.append(text)
        elif sealed is not None and where is not None:
            self._left_out.add(
                f"{where}[].encrypted_content", "is not what this server has sealed; leave the reasoning out"
            )

    def _end_turn(self) -> None:
        """Make one message of what the assistant has said since the last."""
        if self._content is None and self._refusal is None and not self._calls:
            self._reasoning.clear()  # reasoning that led to nothing
            return
        self._messages.append(
            contract.AssistantMessage(
                content=self._content,
                refusal=self._refusal,
                reasoning_content="\n\n".join(self._reasoning) if self._reasoning else None,
                tool_calls=tuple(self._calls) or None,
            )
        )
        self._reasoning.clear()
        self._content = self._refusal = None
        self._calls.clear()


def _given(part: MessagePart, where: str) -> contract.ContentPart:
    if isinstance(part, TextInput | GivenOutputText):
        return contract.TextPart(part.text)
    if isinstance(part, ImageInput):
        if part.image_url is None:
            raise invalid(f"{where}.image_url", "an image is given by its URL or data URL here; no files are kept")
        return contract.ImagePart(contract.ImageURL(part.image_url, part.detail))
    if isinstance(part, FileInput):
        if part.file_url is not None:
            raise invalid(f"{where}.file_url", "nothing is fetched here; give the file as 'file_data'")
        if part.file_data is None and part.file_id is None:
            raise invalid(f"{where}.file_data", "a file needs its data")
        return contract.FilePart(contract.InputFile(part.file_data, part.file_id, part.filename))
    if isinstance(part, AudioInput):
        return contract.AudioPart(part.input_audio)
    raise _no_such_part_at(part, where, "'input_text', 'input_image' and 'input_file'")


def _no_such_part(part: MessagePart, at: int, index: int, supported: str) -> InvalidRequest:
    return _no_such_part_at(part, f"input[{at}].content[{index}]", supported)


def _no_such_part_at(part: MessagePart, where: str, supported: str) -> InvalidRequest:
    kind = part.__struct_config__.tag
    return InvalidRequest(
        f"Invalid value: '{kind}' for '{where}.type' of this role. Supported values are: {supported}.",
        param=f"{where}.type",
    )
