"""Names of OpenTelemetry's semantic conventions, as of the one version that is kept to.

1.41.1 is the last version that has the conventions for GenAI: from 1.42.0 on they live in a repository of their own,
which has made no release yet. Within a version names do not change, so that dashboards do not break by an upgrade.

Source: docs/gen-ai/gen-ai-spans.md and gen-ai-metrics.md of the semantic conventions 1.41.1.
"""

from __future__ import annotations

from typing import Final

import msgspec

CONVENTIONS: Final = "1.41.1"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{CONVENTIONS}"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
STREAM: Final = "gen_ai.request.stream"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # no secret
ERROR_TYPE: Final = "error.type"

HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"

OPERATIONS: Final = {"completions": "text_completion", "embeddings": "embeddings", "rerank": "rerank"}
"""The operation of an endpoint by its name; all others chat, but for those that generate nothing."""
UNGENERATED: Final = frozenset({"count_tokens", "tokenize", "detokenize"})
"""Endpoints that are no operation of the conventions: they have their own name, and no figures of GenAI."""

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


class Instrument(msgspec.Struct, frozen=True):
    """A histogram of the conventions, with the bounds that they ask for."""

    name: str
    unit: str
    bounds: tuple[float, ...]
    about: str


REQUEST_DURATION: Final = Instrument("gen_ai.server.request.duration", "s", _SECONDS, "Duration of requests.")
FIRST_TOKEN: Final = Instrument(
    "gen_ai.server.time_to_first_token",
    "s",
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    "Time to the first part of an answer that succeeded.",
)
PER_TOKEN: Final = Instrument(
    "gen_ai.server.time_per_output_token",
    "s",
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    "Time per token after the first, of answers that succeeded.",
)
OPERATION_DURATION: Final = Instrument(
    "gen_ai.client.operation.duration", "s", _SECONDS, "Duration of a request at one instance."
)
TOKENS: Final = Instrument(
    "gen_ai.client.token.usage", "{token}", tuple(float(4**power) for power in range(14)), "Tokens of requests."
)
INSTRUMENTS: Final = (REQUEST_DURATION, FIRST_TOKEN, PER_TOKEN, OPERATION_DURATION, TOKENS)


def operation(endpoint: str) -> str:
    """What the conventions call what *endpoint* does."""
    return endpoint if endpoint in UNGENERATED else OPERATIONS.get(endpoint, "chat")
