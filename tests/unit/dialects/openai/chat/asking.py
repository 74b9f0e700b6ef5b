"""Bodies, and what the endpoint of a profile makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import GenerationRequest, Profile
from enginehouse_plugin.errors import InvalidRequest

OPENAI = built_in()["openai"]
USER = {"role": "user", "content": "Hi"}


def body_of(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **fields}).encode()


def asked(body: bytes, *, profile: Profile = OPENAI) -> GenerationRequest:
    return ChatEndpoint(profile).decode(body, "r").request


def refusal(body: bytes, *, profile: Profile = OPENAI, **kwargs: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ChatEndpoint(profile, **kwargs).decode(body, "r")
    return caught.value
