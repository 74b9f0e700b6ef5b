"""From turns and their blocks to the contract's messages.

A turn of the user is one message, and one for each result of a tool; neighbouring texts of the user are one message,
as the API has it. Names of places are the client's.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from enginehouse.dialects.anthropic.messages.blocks import (
    AssistantTurn,
    Base64Source,
    ContentSource,
    DocumentBlock,
    FileSource,
    ImageBlock,
    RedactedThinkingBlock,
    ResultBlock,
    SearchResultBlock,
    SystemTurn,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolReference,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    UserTurn,
)
from enginehouse.dialects.anthropic.messages.left_out import LeftOut, invalid
from enginehouse.dialects.anthropic.messages.signature import recognised
from enginehouse_plugin import request as contract

_OF_CLOUD = "only a vendor's cloud has it"
_FAILED = "The tool failed: "
"""What a result begins with that is said to be an error: no template has another way to say it."""

_encode = msgspec.json.Encoder().encode


def conversation(turns: tuple[Turn, ...], left_out: LeftOut) -> list[contract.Message]:
    """Return the messages of *turns*.

    Raises:
        InvalidRequest: calls and results do not go together, or a block cannot be used.
    """
    messages: list[contract.Message] = []
    waiting: dict[str, str] = {}  # calls of the turn before, each with its place
    for at, turn in enumerate(turns):
        where = f"messages[{at}].content"
        if isinstance(turn, AssistantTurn):
            _check_answered(waiting)
            messages.append(_assistant(turn, where, waiting, left_out))
        elif isinstance(turn, SystemTurn):
            messages.append(contract.SystemMessage(content=_content(_texts(turn.content))))
        else:
            for message in _user(turn, where, waiting, left_out):
                _join(messages, message)
            _check_answered(waiting)
    _check_answered(waiting)
    if isinstance(turns[-1], AssistantTurn):
        raise invalid(
            f"messages[{len(turns) - 1}].role",
            "an answer cannot be continued here, so the last message must be of the user",
        )
    return messages


def texts_of(content: str | tuple[TextBlock, ...]) -> contract.Content:
    """Return *content*, which is text, as the contract has it."""
    return _content(_texts(content))


def _texts(content: str | tuple[TextBlock, ...]) -> list[contract.ContentPart]:
    if isinstance(content, str):
        return [contract.TextPart(content)]
    return [contract.TextPart(block.text) for block in content]


def _content(parts: list[contract.ContentPart]) -> contract.Content:
    """Text alone as text, whichever way it was given; several parts stay apart."""
    if len(parts) == 1 and isinstance(parts[0], contract.TextPart):
        return parts[0].text
    return tuple(parts) if parts else ""


def _join(messages: list[contract.Message], message: contract.Message) -> None:
    last = messages[-1] if messages else None
    if isinstance(last, contract.UserMessage) and isinstance(message, contract.UserMessage):
        messages[-1] = contract.UserMessage(content=(*_parts(last.content), *_parts(message.content)))
    else:
        messages.append(message)


def _parts(content: contract.Content) -> tuple[contract.ContentPart, ...]:
    return (contract.TextPart(content),) if isinstance(content, str) else content


def _check_answered(waiting: dict[str, str]) -> None:
    for call, where in waiting.items():
        raise invalid(where, f"the call '{call[:64]}' has no 'tool_result' in the message right after it")


# ---- the assistant ----


def _assistant(turn: AssistantTurn, where: str, waiting: dict[str, str], left_out: LeftOut) -> contract.Message:
    if isinstance(turn.content, str):
        return contract.AssistantMessage(content=turn.content)
    texts: list[str] = []
    thinking: list[str] = []
    calls: list[contract.ToolCall] = []
    for at, block in enumerate(turn.content):
        place = f"{where}[{at}]"
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ToolUseBlock):
            if block.id in waiting:
                raise invalid(f"{place}.id", "another call has the same id")
            waiting[block.id] = f"{place}.id"
            arguments = _encode(block.input).decode()
            calls.append(contract.ToolCall(block.id, contract.FunctionCall(block.name, arguments)))
        elif isinstance(block, ThinkingBlock):
            text = recognised(block.thinking, block.signature)
            if text is None:
                left_out.add(f"{place}.signature", "this thinking is not of this server")
            elif text:
                thinking.append(text)
        elif isinstance(block, RedactedThinkingBlock):
            left_out.add(place, "this thinking is not of this server")
        else:
            left_out.add(place, _OF_CLOUD)
    text = "".join(texts)
    return contract.AssistantMessage(
        content=text if text or not calls else None,
        reasoning_content="".join(thinking) or None,
        tool_calls=tuple(calls) or None,
    )


# ---- the user ----


def _user(
    turn: UserTurn, where: str, waiting: dict[str, str], left_out: LeftOut
) -> Iterable[contract.UserMessage | contract.ToolMessage]:
    if isinstance(turn.content, str):
        yield contract.UserMessage(content=turn.content)
        return
    parts: list[contract.ContentPart] = []
    for at, block in enumerate(turn.content):
        place = f"{where}[{at}]"
        if isinstance(block, ToolResultBlock):
            if waiting.pop(block.tool_use_id, None) is None:
                raise invalid(f"{place}.tool_use_id", "the message before has no 'tool_use' with this id")
            if parts:
                yield contract.UserMessage(content=_content(parts))
                parts = []
            yield contract.ToolMessage(content=_result(block, place, left_out), tool_call_id=block.tool_use_id)
        elif isinstance(block, TextBlock | ImageBlock | DocumentBlock | SearchResultBlock):
            parts += _shown(block, place, left_out)
        else:
            left_out.add(place, _OF_CLOUD)
    if parts:
        yield contract.UserMessage(content=_content(parts))


def _result(block: ToolResultBlock, where: str, left_out: LeftOut) -> contract.Content:
    given = block.content if block.content is not None else ""
    parts: list[contract.ContentPart] = []
    if isinstance(given, str):
        parts.append(contract.TextPart(given))
    else:
        for at, each in enumerate(given):
            parts += _shown(each, f"{where}.content[{at}]", left_out)
    if block.is_error:
        first = parts[0] if parts else None
        if isinstance(first, contract.TextPart):
            parts[0] = contract.TextPart(_FAILED + first.text)
        else:
            parts.insert(0, contract.TextPart(_FAILED))
    return _content(parts)


def _shown(block: ResultBlock, where: str, left_out: LeftOut) -> list[contract.ContentPart]:
    """What the model is shown of *block*."""
    if isinstance(block, TextBlock):
        return [contract.TextPart(block.text)]
    if isinstance(block, SearchResultBlock):
        found = "\n".join(each.text for each in block.content)
        return [contract.TextPart(f"{block.title}\n{block.source}\n{found}")]
    if isinstance(block, ToolReference):
        left_out.add(where, _OF_CLOUD)
        return []
    source = block.source
    if isinstance(source, FileSource):
        raise invalid(f"{where}.source.type", "no files are kept here; send the content itself")
    if isinstance(block, ImageBlock):
        if not isinstance(source, Base64Source):
            return [contract.ImagePart(contract.ImageURL(source.url))]  # type: ignore[union-attr]  # a URL's
        if source.media_type == "application/pdf":
            raise invalid(f"{where}.source.media_type", "a PDF is a block of the type 'document'")
        return [contract.ImagePart(contract.ImageURL(f"data:{source.media_type};base64,{source.data}"))]
    return _document(block, where)


def _document(block: DocumentBlock, where: str) -> list[contract.ContentPart]:
    source = block.source
    about = "".join(f"{line}\n" for line in (block.title, block.context) if line)
    if isinstance(source, TextSource):
        return [contract.TextPart(about + source.data)]
    if isinstance(source, ContentSource):
        return [contract.TextPart(about + "\n".join(_words(part) for part in _texts(source.content)))]
    if not isinstance(source, Base64Source):
        raise invalid(f"{where}.source.type", "documents are not fetched here; send the content itself")
    if source.media_type != "application/pdf":
        raise invalid(f"{where}.source.media_type", "a document is a PDF or text; an image is a block of its own")
    data = f"data:{source.media_type};base64,{source.data}"
    return [contract.FilePart(contract.InputFile(file_data=data, filename=block.title or "document.pdf"))]


def _words(part: contract.ContentPart) -> str:
    return part.text if isinstance(part, contract.TextPart) else ""
