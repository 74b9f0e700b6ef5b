"""The endpoints of which the suite has rules, beside chat: by name, how each is asked and read."""

from __future__ import annotations

from .base import Endpoint, Event
from .completions import Completions
from .messages import Messages
from .ollama import Ollama, OllamaGenerate
from .responses import Responses
from .texts import Embeddings, Rerank, Tokenize

__all__ = ["ENDPOINTS", "Endpoint", "Event"]

ENDPOINTS: dict[str, Endpoint] = {
    endpoint.name: endpoint
    for endpoint in (
        Responses(),
        Messages(),
        Completions(),
        Ollama(),
        OllamaGenerate(),
        Embeddings(),
        Rerank(),
        Tokenize(),
    )
}
"""All but chat, which has a target's own methods."""
