"""Processor time of each endpoint's own work, decoding and encoding, beside chat's in the same run.

    python -m tests.bench.dialects [--rounds N] [--served SECONDS]

What comes before and behind it, connection, lease and account, is the same for all; with `--served` all of a running
router's processor time is measured, in front of the instant upstream of `make bench`. A request is the same short
conversation in each dialect; a stream has 64 chunks of text, each in a batch of its own. Rounds of the endpoints take
turns, so that what slows the machine slows all of them, and of each the median is told: absolutely, and as its ratio
to chat's. `chunk` is what a stream costs more per chunk than one without any.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench import load, peers

from enginehouse.config import Config, ModelConfig, MountConfig
from enginehouse.dialects.endpoint import Endpoint
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.openai.responses.kept import KeptResponses
from enginehouse_plugin import Finished, Started, TextDelta, UsageReport
from enginehouse_plugin.events import AnyEvent

CHUNKS = 64
_REPEATED = 40  # per round, so that the clock's own cost vanishes
_QUESTION = "What is the capital of France, and how many people live there?"
_NAMED: Mapping[bytes, bytes] = {b"host": b"127.0.0.1:8000", b"content-type": b"application/json"}
_MESSAGES = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": _QUESTION}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": _MESSAGES, "max_tokens": 128, "temperature": 0.5},
    "completions": {"prompt": f"You are helpful.\n{_QUESTION}", "max_tokens": 128, "temperature": 0.5},
    "responses": {
        "instructions": "You are helpful.", "input": _QUESTION, "max_output_tokens": 128, "temperature": 0.5,
    },
    "responses, unkept": {
        "instructions": "You are helpful.", "input": _QUESTION, "max_output_tokens": 128, "temperature": 0.5,
        "store": False,
    },
    "messages": {
        "system": "You are helpful.", "messages": _MESSAGES[1:], "max_tokens": 128, "temperature": 0.5,
    },
    "ollama_chat": {"messages": _MESSAGES, "options": {"num_predict": 128, "temperature": 0.5}},
}  # fmt: skip


def _endpoints() -> dict[str, Endpoint]:
    config = Config(models={"m": ModelConfig(placements=())})
    kept = KeptResponses(config.responses)
    config = Config(models=config.models, mounts=(MountConfig(profile="ollama", path="/ollama"),))
    return {each.name: each for mount in mounts(config, {}, kept) for each in mount.endpoints}


def _events(chunks: int) -> list[list[AnyEvent]]:
    """What an engine sends, in batches."""
    started, last = Started(20, 8), UsageReport(prompt_tokens=20, completion_tokens=chunks, cached_tokens=8)
    texts = [TextDelta(choice=0, text=f" word{at}", completion_tokens=at + 1) for at in range(chunks)]
    return [[started], *([text] for text in texts), [Finished(choice=0, reason="stop"), last]]


def _work(endpoint: Endpoint, body: bytes, batches: list[list[AnyEvent]]) -> Callable[[], None]:
    def work() -> None:
        encoder = endpoint.decode(body, "req-1", _NAMED).encoder
        for batch in batches:
            encoder.events(batch)
        encoder.end()

    return work


def _us(work: Callable[[], None]) -> float:
    """Microseconds of processor time that *work* takes."""
    begun = time.process_time_ns()
    for _ in range(_REPEATED):
        work()
    return (time.process_time_ns() - begun) / _REPEATED / 1000


def measured(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds by endpoint: of a plain request, of a stream, and of one chunk of it."""
    endpoints = _endpoints()
    works: dict[tuple[str, str], Callable[[], None]] = {}
    for name, fields in BODIES.items():
        endpoint = endpoints[name.partition(",")[0]]
        for kind, is_stream, chunks in (("plain", False, 1), ("opened", True, 1), ("stream", True, CHUNKS)):
            body = json.dumps({"model": "m", **fields, "stream": is_stream}).encode()
            works[name, kind] = _work(endpoint, body, _events(chunks))
    for work in works.values():
        work()
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            taken[key].append(_us(work))
    middle = {key: statistics.median(each) for key, each in taken.items()}
    return {
        name: {
            "plain": middle[name, "plain"],
            "stream": middle[name, "stream"],
            "chunk": (middle[name, "stream"] - middle[name, "opened"]) / (CHUNKS - 1),
        }
        for name in BODIES
    }


PATHS: dict[str, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "responses, unkept": "/v1/responses",
    "messages": "/v1/messages",
    "ollama_chat": "/ollama/api/chat",
    "embeddings": "/v1/embeddings",
    "embeddings, base64": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "tokenize": "/tokenize",
}
_TEXTS: dict[str, dict[str, Any]] = {
    "embeddings": {"input": _QUESTION},
    "embeddings, base64": {"input": _QUESTION, "encoding_format": "base64"},
    "rerank": {"query": _QUESTION, "documents": [f"{_QUESTION} {at}" for at in range(4)]},
    "tokenize": {"prompt": _QUESTION},
}
"""What has no stream; the model `texts` has these tasks, too."""
_MORE = """
[[mounts]]
profile = "ollama"
path = "/ollama"

[models.texts]
load = "start"

[[models.texts.placements]]
backend = "relay"
source = "instant"
options = {{ port = {port}, slots = 512, tasks = ["chat", "embed", "rerank"] }}
"""


def served(rounds: int, seconds: int) -> dict[str, dict[str, float]]:
    """Microseconds of a running router's processor time by endpoint: of a plain request, and of a stream."""
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with (
            peers.upstream(folder) as (upstream_port, _),
            peers.enginehouse(folder, upstream_port, _MORE.format(port=upstream_port)) as (port, pid, _),
        ):
            for _ in range(rounds):
                for name, path in PATHS.items():
                    for kind, body in _asked(name).items():
                        script = load.write_script(
                            folder, stream=kind == "stream", body=body, name=name.replace(" ", "_")
                        )
                        sample = load.run_wrk(port, pid, script, connections=16, duration_s=seconds, path=path)
                        taken.setdefault((name, kind), []).append(sample.processor_us_per_request)
    return {name: {kind: statistics.median(taken[name, kind]) for kind in _asked(name)} for name in PATHS}


def _asked(name: str) -> dict[str, dict[str, Any]]:
    """The bodies by which the endpoint *name* is asked, whole and, where it has one, for a stream."""
    if name in _TEXTS:
        return {"plain": {"model": "texts", **_TEXTS[name]}}
    body = {"model": "m", "stream": False, **BODIES[name]}
    return {"plain": body, "stream": body}


def _print(title: str, found: dict[str, dict[str, float]]) -> None:
    chat = found["chat"]
    print(f"{title:18} " + "".join(f"{kind:>10} {'of chat':>8}" for kind in chat))
    for name, row in found.items():
        print(f"{name:18} " + "".join(f"{row[kind]:10.2f} {row[kind] / chat[kind]:8.2f}" for kind in row))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--served", type=int, default=0, metavar="SECONDS", help="of load per endpoint, kind and round")
    chosen = parser.parse_args()
    if chosen.served:
        _print("all, µs", served(chosen.rounds, chosen.served))
    else:
        _print("own work, µs", measured(chosen.rounds))


if __name__ == "__main__":
    main()
