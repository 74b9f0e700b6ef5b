"""Another Enginehouse as upstream: the same answers, the features that it tells, one instance named after the other."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.weights import PATHS, make

from .conftest import Serve

pytestmark = pytest.mark.engine

KEY = "sk-between-two-houses"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me of the sea."}], "temperature": 0}


def ask(url: str, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.post(
        f"{url}/v1/chat/completions", json={**ASK, **fields}, headers=headers, trust_env=False, timeout=60
    )


def test_a_house_behind_a_house_answers_as_it_does_itself(serve: Serve, tmp_path: Path) -> None:
    make("tiny-gguf")
    inner = serve(
        f"""
[server]
port = 0

[[keys]]
name = "outer"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"

[models.tiny]
context_tokens = 512
reproducible = true
placements = [{{ backend = "llamacpp", source = "{PATHS["tiny-gguf"]()}" }}]
"""
    )
    (tmp_path / "key").write_text(f"{KEY}\n")
    outer = serve(
        f"""
[server]
port = 0

[models.tiny]
placements = [{{ backend = "upstream", source = "{inner.url}", options = {{ key_file = "{tmp_path / "key"}" }} }}]
"""
    )
    headers = {"authorization": f"Bearer {KEY}"}
    (own,) = httpx.get(f"{inner.url}/v1/models", headers=headers, trust_env=False).json()["data"]
    (card,) = httpx.get(f"{outer.url}/v1/models", trust_env=False).json()["data"]
    assert (card["features"], card["context_length"], card["limits"]) == (own["features"], 512, own["limits"])
    wanted: dict[str, Any] = {"max_tokens": 12, "logprobs": True, "top_logprobs": 2, "seed": 7, "stop": ["zzz"]}
    direct, through = ask(inner.url, KEY, **wanted), ask(outer.url, **wanted)
    assert through.headers["x-enginehouse-instance"] == direct.headers["x-enginehouse-instance"] == "tiny#0"
    assert through.json()["choices"] == direct.json()["choices"]
    assert through.json()["usage"]["completion_tokens"] == direct.json()["usage"]["completion_tokens"]
    schema = {"name": "s", "schema": {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}}
    form = {"type": "json_schema", "json_schema": schema}
    for fields in ({"response_format": form}, {"response_format": form, "stream": True}):
        assert ask(outer.url, max_tokens=60, **fields).status_code == 200
    too_long = ask(outer.url, messages=[{"role": "user", "content": "word " * 2000}])
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (400, "context_length_exceeded")
    refused = ask(outer.url, logit_bias={"99999999": 1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logit_bias")
    assert KEY not in outer.text()
