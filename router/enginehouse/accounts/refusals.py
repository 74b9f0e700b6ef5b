"""What a key is refused that has had enough."""

from __future__ import annotations

from enginehouse_plugin.errors import RequestError


class InsufficientCredits(RequestError):
    """The key has too little credit for what the request may cost."""

    code = "insufficient_credits"


class RateLimited(RequestError):
    """The key or the model has had as much as it may; `retry_after_s` says when there is room again."""

    code = "rate_limit_exceeded"
