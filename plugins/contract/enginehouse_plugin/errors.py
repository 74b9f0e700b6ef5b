"""Errors that cross the border between the router and a plugin.

    EnginehouseError
    ├── RequestError                 the request's fault: another instance would say the same
    │   ├── InvalidRequest           a field has a value that cannot be used
    │   ├── UnsupportedFeature       the instance does not have the feature that a field needs
    │   ├── InputTooLong             a text to embed or rank exceeds the context
    │   └── ContextTooLong           the prompt (or what must fit behind it) exceeds the context
    ├── LoadError                    an instance could not be made
    │   ├── SourceNotFound           no weights at the source
    │   ├── DoesNotFit               the device has too little memory
    │   ├── EngineMissing            the engine's program or package is not installed
    │   └── LoadFailed               the engine tried and gave up; carries its last words
    └── EngineError                  the engine's fault while it served
        ├── EngineUnavailable        it takes no requests now (not up, draining)
        ├── EngineOverloaded         it refused for load, or the host has nothing left to ask it with
        ├── EngineDied               its process ended; carries its last words
        ├── EngineProtocolError      it answered what the adapter cannot read
        └── EngineFailure            it reported an error of its own

Each carries fields, not prose. `code` is an open string: the router maps codes that it does not know
to status 500. `retryable` says whether another instance, or a later try, may succeed.
"""

from __future__ import annotations

from collections.abc import Sequence


class EnginehouseError(Exception):
    """Base of all errors of the contract."""

    code: str = "engine_error"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class RequestError(EnginehouseError):
    """The request cannot be served as it stands, by any instance like this one."""

    code = "invalid_request"


class InvalidRequest(RequestError):
    """Field *param* has a value that cannot be used; *message* says the problem and what is allowed."""

    code = "invalid_value"

    def __init__(self, message: str, *, param: str | None, code: str | None = None) -> None:
        super().__init__(message, param=param, code=code)


class UnsupportedFeature(RequestError):
    """The instance lacks *feature*, which field *param* asks for.

    *turns_off* names a feature that the field turns off and the model does not have either: a router leaves it out.
    """

    code = "unsupported_parameter"

    def __init__(
        self, feature: str, *, param: str | None, message: str | None = None, turns_off: str | None = None
    ) -> None:
        super().__init__(
            message or f"'{param}' needs the feature '{feature}', which this model does not have here.",
            param=param,
        )
        self.feature = feature
        self.turns_off = turns_off


class ContextTooLong(RequestError):
    """The prompt, or with `max_tokens_must_fit` what is asked for behind it, exceeds the context (all in tokens).

    An engine that gives no numbers leaves them None.
    With *is_lower_bound* the prompt was too long to be tokenized, and has *prompt_tokens* or more.
    """

    code = "context_length_exceeded"

    def __init__(
        self,
        *,
        prompt_tokens: int | None = None,
        limit_tokens: int | None = None,
        max_tokens: int | None = None,
        is_lower_bound: bool = False,
    ) -> None:
        param = "messages"
        if prompt_tokens is None or limit_tokens is None:
            of = "" if limit_tokens is None else f" of {limit_tokens} tokens"
            problem = f"The prompt, with the completion asked for, exceeds this model's context{of}"
        else:
            least = "at least " if is_lower_bound else ""
            asked = f" and up to {max_tokens} completion tokens were asked for" if max_tokens else ""
            problem = f"The context of this model is {limit_tokens} tokens, but the prompt has {least}{prompt_tokens} "
            problem += f"tokens{asked}"
            if max_tokens and prompt_tokens < limit_tokens:
                param = "max_tokens"
        super().__init__(f"{problem}. Shorten the messages or ask for fewer tokens.", param=param)
        self.prompt_tokens = prompt_tokens
        self.limit_tokens = limit_tokens
        self.max_tokens = max_tokens
        self.is_lower_bound = is_lower_bound


class InputTooLong(RequestError):
    """The input or document at *index* has *tokens* tokens, or more if that is a lower bound, and the model takes
    *limit_tokens* at once.
    """

    code = "context_length_exceeded"

    def __init__(self, index: int, *, tokens: int, limit_tokens: int, is_lower_bound: bool = False) -> None:
        self.has = f"has {'at least ' if is_lower_bound else ''}{tokens} tokens"
        super().__init__(
            f"Text {index} {self.has}, and this model takes at most {limit_tokens} at once. Shorten it, or ask for it "
            "to be cut."
        )
        self.index = index
        self.tokens = tokens
        self.limit_tokens = limit_tokens


class LoadError(EnginehouseError):
    """An instance could not be made."""

    code = "load_failed"


class SourceNotFound(LoadError):
    """There are no weights at *source*."""

    code = "source_not_found"

    def __init__(self, source: str, *, fix: str) -> None:
        super().__init__(f"No weights at '{source}'. {fix}")
        self.source = source
        self.fix = fix


class DoesNotFit(LoadError):
    """The device has less free memory than the instance needs (bytes)."""

    code = "does_not_fit"

    def __init__(self, *, device: str, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(f"{device} has {free_bytes} bytes free; {needed_bytes} are needed.")
        self.device = device
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class EngineMissing(LoadError):
    """The engine is not installed; *fix* is the command that installs it."""

    code = "engine_missing"

    def __init__(self, engine: str, *, fix: str) -> None:
        super().__init__(f"The engine '{engine}' is not installed here. {fix}")
        self.engine = engine
        self.fix = fix


ENGINE_WITHOUT_GPU = "engine_without_gpu"
"""Code of a `LoadFailed` whose engine cannot use the placement's devices: the router then tries its other ones."""


class LoadFailed(LoadError):
    """The engine gave up while loading; *last_words* are its last lines of output."""

    def __init__(
        self, message: str, *, last_words: Sequence[str] = (), retryable: bool = True, code: str | None = None
    ) -> None:
        super().__init__(message, retryable=retryable, code=code)
        self.last_words = tuple(last_words)


class EngineError(EnginehouseError):
    """The engine failed while it served."""

    retryable = True


class EngineUnavailable(EngineError):
    """The instance takes no requests now."""

    code = "engine_unavailable"


class EngineOverloaded(EngineError):
    """The engine refused the request for load, or this host has nothing left to ask it with, such as descriptors."""

    code = "engine_overloaded"


class EngineDied(EngineError):
    """The engine's process ended; *last_words* are its last lines of output."""

    code = "engine_died"

    def __init__(self, message: str, *, last_words: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.last_words = tuple(last_words)


class EngineProtocolError(EngineError):
    """The engine answered what the adapter cannot read."""

    code = "engine_protocol_error"


class EngineFailure(EngineError):
    """The engine reported an error of its own."""

    code = "engine_failure"
