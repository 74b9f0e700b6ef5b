"""`POST …/responses`: from a body to a call, with the encoder of its answer and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Unpack

import msgspec

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Detached, Encoder, Errors
from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai.chat.agents import check_tool_names, instructed
from enginehouse.dialects.openai.responses.answers import ResponseStatus
from enginehouse.dialects.openai.responses.conversation import Conversation, only_text
from enginehouse.dialects.openai.responses.decode import decode_responses
from enginehouse.dialects.openai.responses.encode import ResponseBody, ResponseStream
from enginehouse.dialects.openai.responses.errors import ResponsesErrors
from enginehouse.dialects.openai.responses.gathered import Form
from enginehouse.dialects.openai.responses.generation import generation_request
from enginehouse.dialects.openai.responses.head import Head, Keep
from enginehouse.dialects.openai.responses.items import Hosted, InputItem, ItemReference
from enginehouse.dialects.openai.responses.kept import Kept, KeptResponses, ResponseNotFound
from enginehouse.dialects.openai.responses.left_out import LeftOut
from enginehouse.dialects.openai.responses.operation import responses_operation
from enginehouse.dialects.openai.responses.request import ResponsesCustom, ResponsesFunction, ResponsesRequest
from enginehouse.dialects.openai.responses.rules import ENCRYPTED, LOGPROBS, check, invalid
from enginehouse.dialects.openai.responses.sealed import Seal
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import InvalidRequest

_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(tuple[InputItem, ...]).decode
_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}
_TEXT_ITEM = b'[{"type":"message","id":"msg_%b","role":"user","content":%b}]'
"""An `InputMessage` of the user."""
_RECORDED = ("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "client_metadata")
_of_recorded = attrgetter(*_RECORDED, "prompt_cache_options")
_NONE_RECORDED = (None,) * (len(_RECORDED) + 1)
_PLAIN = Form()


class ResponsesEndpoint(AtMount):
    """Responses of the OpenAI dialect, with the routes and errors of *profile*; *kept* keeps them, None: none are."""

    name = "responses"
    below = "/responses"
    is_for_agents = True

    def __init__(self, profile: Profile, /, *, kept: KeptResponses | None = None, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = ResponsesErrors(profile)
        self.operation = responses_operation(self.label)
        self._kept = kept
        self._seal = Seal() if kept is None else kept.seal

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] | None = None,  # noqa: ARG002
        key: str = "",
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = decode_responses(body, unknown_fields=self._unknown_fields)
        meant = self.meant_by(asked.model)
        is_lenient = self.is_lenient_for(meant.model)
        left_out = LeftOut(ignored, is_lenient=is_lenient)
        kept = self._kept if self._kept is not None and self._kept.is_on else None
        check(asked, left_out, keeps=kept is not None)
        before, own, messages = self._conversation(asked, key, left_out)
        request, said = generation_request(asked, messages, request_id=request_id)
        noted = _recorded(asked)
        if meant.agent is not None:
            if meant.agent.tools is not None:
                check_tool_names(asked.model, _names_of_tools(asked), meant.agent.tools)
            request, said = instructed(request, said, meant.agent)
            noted["agent"] = asked.model
        store = kept if asked.store is not False else None
        head = Head(f"resp_{unique_hex()}", asked, store=store is not None)
        keep = None if store is None else _keeping(store, head.id, key, before, own, bool(asked.background))
        return Call(
            model=meant.model,
            agent=meant.agent_name,
            request=request,
            said=said,
            encoder=self._encoder(asked, head, keep),
            recorded=noted or None,
            ignored=left_out.places,
            is_lenient=is_lenient,
            profile=self.label,
            detached=None if store is None or not asked.background else _detached(store, head, key, before, own),
        )

    def _conversation(
        self, asked: ResponsesRequest, key: str, left_out: LeftOut
    ) -> tuple[tuple[bytes, ...], Sequence[Any], Any]:
        """Return the items of earlier responses as they are kept, those of *asked*, and the messages of all."""
        given = asked.input
        if isinstance(given, str) and asked.previous_response_id is None:
            return (), (given,), only_text(given, asked.instructions)
        conversation = Conversation(left_out, self._seal.opened)
        before: tuple[bytes, ...] = ()
        if asked.previous_response_id is not None and self._kept is not None:
            before = _previous(self._kept, asked.previous_response_id, key).items
            for each in before:
                conversation.add(_items(each), where=None)
        own: Sequence[Any]
        if isinstance(given, str):
            conversation.add_text(given)
            own = (given,)
        else:
            own = given
            if any(type(item) is ItemReference for item in given):
                own = [self._meant(item, at, key) for at, item in enumerate(given)]
            conversation.add(own)
        return before, own, conversation.messages(asked.instructions)

    def _meant(self, item: Any, at: int, key: str) -> Any:
        """*item*, or where it is a reference the one that is meant."""
        if type(item) is not ItemReference:
            return item
        for kept in self._kept.of(key) if self._kept is not None else ():
            for each in reversed(kept.items):
                if item.id.encode() in each:
                    for found in _items(each):
                        if getattr(found, "id", None) == item.id:
                            return found
        raise invalid(f"input[{at}].id", f"no item '{item.id[:100]}' is kept here", code="item_not_found")

    def _encoder(self, asked: ResponsesRequest, head: Head, keep: Keep | None) -> Encoder:
        form = _PLAIN
        if asked.include or asked.reasoning is not None or asked.tools:
            include, reasoning = asked.include or (), asked.reasoning
            form = Form(
                logprobs=LOGPROBS in include,
                is_summary=reasoning is not None and bool(reasoning.summary or reasoning.generate_summary),
                seal=self._seal.seal if ENCRYPTED in include else None,
                customs=frozenset(tool.name for tool in asked.tools or () if isinstance(tool, ResponsesCustom)),
            )
        if not asked.stream:
            return ResponseBody(head, form, keep=keep, errors=self.errors)
        options = asked.stream_options
        obfuscation = bool(options and options.include_obfuscation)
        return ResponseStream(head, form, obfuscation=obfuscation, keep=keep, errors=self.errors)


def _previous(kept: KeptResponses, response_id: str, key: str) -> Kept:
    try:
        found = kept.get(response_id, key)
    except ResponseNotFound as error:
        raise InvalidRequest(error.message, param="previous_response_id", code="previous_response_not_found") from error
    if found.status in ("queued", "in_progress"):
        raise invalid("previous_response_id", "this response has not ended yet; wait for it")
    return found


def _recorded(asked: ResponsesRequest) -> dict[str, Any]:
    if _of_recorded(asked) == _NONE_RECORDED:
        return {}
    noted = {name: value for name in _RECORDED if (value := getattr(asked, name)) is not None}
    if asked.prompt_cache_options is not None:
        noted["prompt_cache_options"] = msgspec.to_builtins(asked.prompt_cache_options)
    return noted


def _names_of_tools(asked: ResponsesRequest) -> dict[str, str]:
    """The names of functions and custom tools by their places."""
    return {
        f"tools[{at}].name": tool.name
        for at, tool in enumerate(asked.tools or ())
        if isinstance(tool, ResponsesFunction | ResponsesCustom)
    }


# ---- what is kept ----


def _with_ids(items: Sequence[Any]) -> bytes:
    """*items* as JSON, each with an id; what only a cloud has is not kept. A text alone is the user's message."""
    made = []
    for item in items:
        if type(item) is str:
            return _TEXT_ITEM % (unique_hex().encode(), _encode(item))
        if isinstance(item, Hosted):
            continue
        if item.id is None:
            prefix = _PREFIXES[str(item.__struct_config__.tag)]
            item = msgspec.structs.replace(item, id=f"{prefix}_{unique_hex()}")  # the same item
        made.append(item)
    return _encode(made)


def _keeping(
    store: KeptResponses, response_id: str, key: str, before: tuple[bytes, ...], own: Sequence[Any], is_background: bool
) -> Keep:
    def keep(body: bytes, said: bytes, status: ResponseStatus) -> None:
        if is_background:
            try:
                given = store.get(response_id, key).items[-1]
            except ResponseNotFound:
                return  # deleted, or cancelled and gone
        else:
            given = _with_ids(own)
        items = (*before, given, said)
        store.put(
            Kept(id=response_id, key=key, body=body, items=items, said=1, status=status, is_background=is_background)
        )

    return keep


def _detached(store: KeptResponses, head: Head, key: str, before: tuple[bytes, ...], own: Sequence[Any]) -> Detached:
    def begin(cancel: Callable[[], None]) -> bytes:
        def cancelled() -> None:
            cancel()
            kept = msgspec.structs.replace(entry, body=head.state("cancelled"), status="cancelled", cancel=None)
            store.put(kept)

        entry = Kept(
            id=head.id,
            key=key,
            body=head.state("in_progress"),
            items=(*before, _with_ids(own)),
            status="in_progress",
            is_background=True,
            cancel=cancelled,
        )
        store.put(entry)
        return head.state("queued")

    return begin
