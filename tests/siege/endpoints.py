"""Every endpoint that takes a body: its schema, and a body that it answers with 200.

The routes of the OpenAPI document come with their schemas; Ollama's, which the configuration mounts, and those under
`/admin` have structs. The house has keys, usage, another host, and a model for each kind of work.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import msgspec
from tests.siege.client import Answer
from tests.siege.house import SERVER, House, tiny

from enginehouse.dialects import admin, admin_credits, steering
from enginehouse.dialects.ollama import embed as ollama_embed
from enginehouse.dialects.ollama import models as ollama_models
from enginehouse.dialects.ollama import request as ollama
from enginehouse.dialects.openai.chat.request import ChatRequest

KEY: Final = "siege"
Schema = dict[str, Any]

CONFIG: Final = (
    SERVER.replace('[usage]\npath = "usage.db"', '[accounts]\nurl = "sqlite:///usage.db"\nkeys = true')
    + f'\n[[keys]]\nname = "siege"\nadmin = true\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n'
    + '\n[[mounts]]\nprofile = "ollama"\npath = "/"\n'
    + '\n[hosts.elsewhere]\nurl = "http://127.0.0.1:9"\n'
)
_STRUCTS: Final = {
    "/api/chat": ollama.ChatRequest,
    "/api/generate": ollama.GenerateRequest,
    "/api/show": ollama_models.ShowRequest,
    "/api/embed": ollama_embed.EmbedRequest,
    "/api/embeddings": ollama_embed.OlderEmbedRequest,
    "/admin/keys": admin.NewKey,
    "/admin/keys/rotate": admin.Rotation,
    "/admin/limits": admin.NewLimits,
    "/admin/keys/expire": admin.Expiry,
    "/admin/keys/revoke": admin.Revocation,
    "/admin/credits/grant": admin_credits.Grant,
    "/admin/credits/withdraw": admin_credits.Grant,
    "/admin/credits/budget": admin_credits.Budget,
    "/admin/explain": ChatRequest,
    "/admin/reload": steering.Reload,
    "/admin/probe": steering.Probe,
    "/admin/instances/load": steering.Order,
    "/admin/instances/pin": steering.Order,
}
"""Not `unload` and `drain`, which take the model from all the others, nor `certify`, which runs for minutes."""

_ASK: Final = [{"role": "user", "content": "Hello."}]
_RANKED: Final = {"model": "rank", "query": "Hello.", "documents": ["Hello.", "Goodbye."]}
KNOWN: Final[dict[str, Any]] = {
    "/v1/chat/completions": {"model": "tiny", "messages": _ASK, "max_tokens": 2},
    "/v1/completions": {"model": "tiny", "prompt": "Hello.", "max_tokens": 2},
    "/v1/responses": {"model": "tiny", "input": "Hello.", "max_output_tokens": 16},
    "/v1/messages": {"model": "tiny", "messages": _ASK, "max_tokens": 2},
    "/v1/messages/count_tokens": {"model": "tiny", "messages": _ASK},
    "/api/chat": {"model": "tiny", "messages": _ASK, "stream": False, "options": {"num_predict": 2}},
    "/api/generate": {"model": "tiny", "prompt": "Hello.", "stream": False, "options": {"num_predict": 2}},
    "/api/show": {"model": "tiny"},
    "/api/embed": {"model": "vectors", "input": ["Hello."]},
    "/api/embeddings": {"model": "vectors", "prompt": "Hello."},
    "/v1/embeddings": {"model": "vectors", "input": "Hello."},
    "/v1/rerank": _RANKED,
    "/v2/rerank": _RANKED,
    "/rerank": _RANKED,
    "/tokenize": {"model": "tiny", "prompt": "Hello."},
    "/detokenize": {"model": "tiny", "tokens": [504]},
    "/admin/explain": {"model": "tiny", "messages": _ASK},
    "/admin/reload": {"dry_run": True},
    "/admin/probe": {"instance": "tiny#0", "prompt": "Hello."},
    "/admin/instances/load": {"model": "tiny"},
    "/admin/instances/pin": {"model": "tiny"},
}
MODELS: Final = ("tiny", "tiny", "vectors", "rank")
READS: Final = (
    *(
        "/",
        "/health",
        "/ready",
        "/metrics",
        "/docs",
        "/docs/plain",
        "/docs/assets/icon.svg",
        "/openapi.json",
        "/v1/models",
        "/v1/models/tiny",
    ),
    *("/v1/responses/resp_x", "/v1/responses/resp_x/input_items", "/api/tags", "/api/ps", "/api/version"),
    *("/admin/keys", "/admin/credits", "/admin/credits/history?key=siege", "/admin/credits/audit", "/admin/usage"),
    *("/console", "/console/assets/icon.svg", "/console/session", "/admin/requests"),
    *("/admin/certificates", "/admin/certify", "/admin/reports/x/report.json"),
    *("/admin/instances", "/admin/hosts", "/hosts/snapshot", f"/hosts/proof?key={'0' * 16}&nonce={'0' * 64}"),
)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


def config() -> str:
    """A house with every door open, and a model for each kind of work."""
    from tests.weights import rank_gguf, tiny_gguf

    of_texts = 'context_tokens = 128\nplacements = [{{ backend = "llamacpp", source = {}, options = {{ {} }} }}]\n'
    vectors = of_texts.format(json.dumps(str(tiny_gguf())), 'pooling = "mean", slots = 2')
    rank = of_texts.format(json.dumps(str(rank_gguf())), "slots = 2")
    return CONFIG + tiny() + f'\n[models.vectors]\ntask = "embed"\n{vectors}\n[models.rank]\n{rank}'


async def schemas(running: House) -> dict[str, tuple[Schema, Schema]]:
    """By route: the document that its references lead into, and its schema."""
    async with running.client() as client:
        document = (await client.get("/openapi.json")).json()
    found = {}
    for path, methods in document["paths"].items():
        if "requestBody" in methods.get("post", {}):
            found[path] = document, methods["post"]["requestBody"]["content"]["application/json"]["schema"]
    for path, struct in _STRUCTS.items():
        schema = msgspec.json.schema(struct)
        found[path] = schema, schema
    return found


def honest(path: str, schema: Schema) -> dict[str, Any]:
    """A body that the route takes; of one that is not known here what its schema asks for at least."""
    known = KNOWN.get(path)
    if known is not None:
        return dict(known)
    names = resolved(schema, schema).get("required", [])
    return {name: {"model": "tiny", "name": "guest", "key": "guest"}.get(name, "1") for name in names}


def resolved(document: Schema, schema: Schema) -> Schema:
    """What *schema* is, or refers to."""
    while "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = target
    return schema


def is_told(path: str, answer: Answer) -> bool:
    """Whether the refusal *answer* has the form of the route's dialect."""
    try:
        told = json.loads(answer.body)
    except ValueError:
        return False
    error = told.get("error") if isinstance(told, dict) else None
    if path.startswith("/api/"):
        return isinstance(error, str) and bool(error)
    if not isinstance(error, dict) or not (error.get("message") and error.get("type")):
        return False
    return told.get("type") == "error" if path.startswith("/v1/messages") else bool(error.get("code"))


def is_ended(path: str, answer: Answer) -> bool:
    """Whether a streamed answer has come to an end that its dialect knows."""
    if path.startswith("/api/"):
        last = answer.body.strip().splitlines()[-1:] or [b"{}"]
        told = json.loads(last[0])
        return bool(told.get("done") or told.get("error"))
    last_event = answer.body.strip().split(b"\n\n")[-1]
    ends = (b"data: [DONE]", b'"error"', b"message_stop", b"response.completed", b"response.incomplete")
    return any(end in last_event for end in (*ends, b"response.failed"))
