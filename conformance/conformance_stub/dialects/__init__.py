"""The endpoints of the stub beside chat: thin translations over its engine, written without the router's."""

from __future__ import annotations

from .base import Dialect, Made, Said
from .completions import Completions
from .messages import Messages
from .ollama import Ollama, OllamaGenerate
from .responses import Responses
from .texts import Detokenize, Embeddings, Plain, Rerank, Tokenize

__all__ = ["DIALECTS", "Dialect", "Made", "Messages", "Plain", "Said"]

DIALECTS: dict[str, Dialect | Plain] = {
    dialect.name: dialect
    for dialect in (
        Responses(),
        Messages(),
        Completions(),
        Ollama(),
        OllamaGenerate(),
        Embeddings(),
        Rerank(),
        Tokenize(),
        Detokenize(),
    )
}
