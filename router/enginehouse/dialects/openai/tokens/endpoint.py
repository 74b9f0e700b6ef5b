"""`POST /tokenize` and `POST /detokenize`: they stand beside the API's path, where vLLM's server has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard, Unpack

import msgspec

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Errors, Origin
from enginehouse.dialects.openai.chat.agents import instructed
from enginehouse.dialects.openai.chat.decode import check_request
from enginehouse.dialects.openai.chat.generation import generation_request
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.openai.tokens.request import (
    MOST_BYTES_OF_ANY,
    MOST_BYTES_PER_TOKEN,
    DetokenizeAnswer,
    DetokenizeBody,
    TokenizeAnswer,
    TokenizeBody,
)
from enginehouse.dialects.operation import Json, Operation, json_body, ref
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import (
    AnyEvent,
    GenerationRequest,
    Instance,
    Profile,
    Text,
    Tokenized,
    Tokenizer,
    TokenizeRequest,
    Tokens,
)
from enginehouse_plugin.errors import EngineProtocolError, InvalidRequest, UnsupportedFeature

_encode = msgspec.json.Encoder().encode
_tokenize: Final = Decoder(TokenizeBody)
_detokenize: Final = Decoder(DetokenizeBody)
_OF_CHAT: Final = ("tools", "chat_template_kwargs")


class _Shown:
    """Writes what an instance has told about tokens."""

    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self.answer: TokenizeAnswer | DetokenizeAnswer | None = None
        self.origin: Origin | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:  # noqa: ARG002  # a count, which the answer has too
        """See `Encoder.events`."""
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self.answer is None:
            raise EngineProtocolError("The engine has told no tokens.")
        return _encode(self.answer)

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        return self._errors.describe(error).body


class _OfTokens(AtMount):
    """What both endpoints have in common."""

    name: str

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.path = self.path.removesuffix(self.below).removesuffix("/v1") + self.below
        self.errors: Errors = ProfileErrors(profile)
        self.operation = _operation(self.name)
        self._profile = profile


class TokenizeEndpoint(_OfTokens):
    """Tells the tokens of a text or a conversation."""

    name = "tokenize"
    below = "/tokenize"

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] | None = None,  # noqa: ARG002  # no header matters
        key: str = "",  # noqa: ARG002  # nothing is kept
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = _tokenize.decode(body, unknown_fields=self._unknown_fields)
        meant = self.meant_by(asked.model)
        request = self._request(asked, request_id)
        if meant.agent is not None and asked.messages is not None:
            request, _ = instructed(request, (), meant.agent)
        shown = _Shown(self.errors)
        wanted = TokenizeRequest(
            request=request,
            special=asked.add_special_tokens is not False,
            texts=bool(asked.return_token_strs),
        )

        async def ask(instance: Instance, request: GenerationRequest) -> int:
            _check_size(request, instance.capabilities.context_tokens)
            wanted_here = msgspec.structs.replace(wanted, request=request)
            told: Tokenized = await _tokenizer(instance).tokenize_prompt(wanted_here)
            shown.answer = TokenizeAnswer(
                count=len(told.token_ids),
                max_model_len=instance.capabilities.context_tokens,
                tokens=told.token_ids,
                token_strs=told.texts,
            )
            return len(told.token_ids)

        return Call(
            model=meant.model,
            agent=meant.agent_name,
            request=request,
            encoder=shown,
            ignored=ignored,
            is_lenient=self.is_lenient_for(meant.model),
            counts=ask,
            profile=self.label,
        )

    def _request(self, asked: TokenizeBody, request_id: str) -> GenerationRequest:
        if (asked.prompt is None) == (asked.messages is None):
            param = "prompt" if asked.prompt is None else "messages"
            raise _invalid(param, "exactly one of 'prompt' and 'messages' is wanted")
        if asked.messages is None:
            for name in _OF_CHAT:
                if getattr(asked, name) is not None:
                    raise _invalid(name, "it is only allowed with 'messages'")
            return GenerationRequest(id=request_id, prompt=Text(asked.prompt or ""))
        if asked.add_special_tokens:
            raise _invalid("add_special_tokens", "of a conversation these tokens are the template's own; leave it out")
        chat = ChatRequest(
            model=asked.model,
            messages=asked.messages,
            tools=asked.tools,
            chat_template_kwargs=asked.chat_template_kwargs,
        )
        check_request(chat)
        return generation_request(chat, request_id=request_id, profile=self._profile)[0]


class DetokenizeEndpoint(_OfTokens):
    """Tells the text of tokens."""

    name = "detokenize"
    below = "/detokenize"

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] | None = None,  # noqa: ARG002  # no header matters
        key: str = "",  # noqa: ARG002  # nothing is kept
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = _detokenize.decode(body, unknown_fields=self._unknown_fields)
        meant = self.meant_by(asked.model)
        shown = _Shown(self.errors)

        async def ask(instance: Instance, request: GenerationRequest) -> int:  # noqa: ARG001  # it stands for these
            shown.answer = DetokenizeAnswer(prompt=await _tokenizer(instance).detokenize(asked.tokens))
            return len(asked.tokens)

        return Call(
            model=meant.model,
            agent=meant.agent_name,
            request=GenerationRequest(id=request_id, prompt=Tokens(asked.tokens)),
            encoder=shown,
            ignored=ignored,
            is_lenient=self.is_lenient_for(meant.model),
            counts=ask,
            profile=self.label,
        )


def _check_size(request: GenerationRequest, context_tokens: int) -> None:
    """Refuse a text that is too long to be tokenized; of a conversation that is seen before its template is rendered.

    A model's own bound is narrower, where no token of it is longer than some bytes. Some tokenizers drop text.
    """
    if not isinstance(request.prompt, Text):
        return
    size, most = len(request.prompt.text.encode()), max(MOST_BYTES_OF_ANY, context_tokens * MOST_BYTES_PER_TOKEN)
    if size > most:
        raise _invalid("prompt", f"it has {size} bytes, and a model of this context tokenizes {most} at most")


def _tokenizer(instance: Instance) -> Tokenizer:
    if not _shows_tokens(instance):
        raise UnsupportedFeature("tokenize", param="model", message="This model's backend does not show its tokens.")
    return instance


def _shows_tokens(instance: Instance) -> TypeGuard[Tokenizer]:
    """Whether it is a `Tokenizer`; before Python 3.12 `isinstance` takes longer to tell than the instance to choose."""
    return hasattr(instance, "tokenize_prompt") and hasattr(instance, "detokenize")


def _invalid(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param)


def _operation(name: str) -> Operation:
    is_tokenize = name == "tokenize"
    asked: type = TokenizeBody if is_tokenize else DetokenizeBody
    answer: type = TokenizeAnswer if is_tokenize else DetokenizeAnswer
    example: dict[str, Any] = {"model": "smollm2-135m"}
    example |= {"prompt": "The capital of France is"} if is_tokenize else {"tokens": [504, 3575, 282]}
    document: Json = {
        "operationId": name,
        "summary": "Tell the tokens of a text or a conversation" if is_tokenize else "Tell the text of tokens",
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(asked), "example": example}},
        },
        "responses": {"200": json_body("What the model's tokenizer says.", answer), **failures(FAILURES)},
    }
    return Operation(document=document, types=(asked, answer))
