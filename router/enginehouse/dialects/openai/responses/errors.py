"""How Responses tells of errors: OpenAI's way, with fields named as a request to this endpoint has them."""

from __future__ import annotations

import re

from enginehouse.dialects.endpoint import ErrorReply
from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import EnginehouseError, RequestError

_NAMES = {
    "logprobs": "include",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
"""Fields of the contract's request that have another name here."""
_MESSAGES = re.compile(r"^messages\b.*")
_SCHEMA = re.compile(r"^response_format\.json_schema\b")
_TOOL = re.compile(r"^(tools\[\d+\])\.function\b")


class ResponsesErrors:
    """Tells of errors in the words of *profile*."""

    def __init__(self, profile: Profile) -> None:
        self._describe = ProfileErrors(profile).describe

    def describe(self, error: BaseException, request_id: str = "") -> ErrorReply:
        """See `Errors.describe`."""
        if isinstance(error, EnginehouseError) and error.param is not None:
            own = own_place(error.param)
            if own != error.param:
                kind = RequestError if isinstance(error, RequestError) else EnginehouseError
                message = error.message.replace(f"'{error.param}'", f"'{own}'")
                error = kind(message, code=error.code, param=own, retry_after_s=error.retry_after_s)
        return self._describe(error, request_id)


def own_place(param: str) -> str:
    """Return the place in a request to this endpoint that *param*, a place of the contract's, stands for."""
    param = _NAMES.get(param, param)
    param = _MESSAGES.sub("input", param)
    param = _SCHEMA.sub("text.format", param)
    return _TOOL.sub(r"\1", param)
