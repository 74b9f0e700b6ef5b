"""Fuzzing by the grammar: every route that takes a body gets those of its schema, most of them a little wrong.

Values are drawn by the schemas of the server's OpenAPI document, and of the routes of Ollama and for administration.
Now and then one is of another kind, out of its bounds, left out, given twice, or the whole body is cut. Each run has a
seed, which is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from typing import Any, Final
from urllib.parse import quote

from tests.siege.client import Answer
from tests.siege.endpoints import KEY, KNOWN, MODELS, READS, config, schemas
from tests.siege.hostile_requests import VALUES
from tests.siege.house import house
from tests.siege.judging import judge, judge_house
from tests.siege.pulse import pulse
from tests.siege.verdict import SIZE, Scenario, Verdict

_WRONG: Final = 0.02
"""How often a value is another one than its schema says."""
_DEEPEST: Final = 8
_OTHERS: Final = 0.05
_NAMES: Final = ("tiny", "x/y", "..", "\x00", "\u00e9" * 50, "?#")
_TAILS: Final = ("", "/", "?x=%00", "?" + "a" * 200)
_BOUNDED: Final = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/messages": "max_tokens",
    "/v1/responses": "max_output_tokens",
}
_STRANGE: Final = list(VALUES.values())
_Schema = dict[str, Any]


class Grammar:
    """Draws values by the schemas of *document*."""

    def __init__(self, document: _Schema, rng: random.Random) -> None:
        self._document = document
        self._rng = rng

    def value(self, schema: _Schema, depth: int = 0) -> Any:
        """A value that *schema* allows, or now and then one that it does not."""
        rng = self._rng
        if rng.random() < _WRONG or depth > _DEEPEST:
            return rng.choice(_STRANGE)
        if "$ref" in schema:
            target: Any = self._document
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            return self.value(target, depth)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self.value(rng.choice(schema[keyword]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                size = rng.randint(schema.get("minItems", 0), schema.get("minItems", 0) + 3)
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(size)]
            case "string":
                return rng.choice(
                    ("", "x", "get_weather", "data:image/png;base64,AAAA", "\u00e9\u4e2d\U0001f600", "a" * 100)
                )
            case "integer":
                low = int(schema.get("minimum", -3))
                return rng.randint(low, min(int(schema.get("maximum", low + 40)), low + 40))
            case "number":
                return rng.uniform(float(schema.get("minimum", -2)), float(schema.get("maximum", 2)))
            case "boolean":
                return rng.random() < 0.5
            case "null":
                return None
            case _:
                return rng.choice(_STRANGE)

    def _object(self, schema: _Schema, depth: int) -> dict[str, Any]:
        rng = self._rng
        known: dict[str, _Schema] = schema.get("properties", {})
        needed = set(schema.get("required", ()))
        found = {
            name: self.value(below, depth + 1)
            for name, below in known.items()
            if (name in needed and rng.random() > _WRONG / 4) or rng.random() < 2 / (len(known) + 1)
        }
        if isinstance(schema.get("additionalProperties"), dict):
            found |= {f"{at}": self.value(schema["additionalProperties"], depth + 1) for at in range(rng.randint(0, 2))}
        return found


def body_of(grammar: Grammar, path: str, schema: _Schema, rng: random.Random) -> bytes:
    """A body by *schema*, mostly for a model that is there and with a short answer; some are broken afterwards."""
    value = grammar.value(schema)
    if isinstance(value, dict):
        if "model" in KNOWN.get(path, ()) and rng.random() > _WRONG:
            value["model"] = rng.choice(MODELS)
        if path.startswith("/api/"):
            value["options"] = {"num_predict": rng.randint(1, 4)}
        elif path in _BOUNDED:
            value[_BOUNDED[path]] = rng.randint(1, 4)
            value.pop("max_completion_tokens", None)
    data = json.dumps(value).encode()
    draw = rng.random()
    if draw < 0.02:
        return data[: rng.randint(0, len(data))]
    if draw < 0.04 and data:
        at = rng.randrange(len(data))
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if draw < 0.05:
        return data[:-1] + b',"model":"tiny"}'
    return data


async def fuzz(verdict: Verdict) -> None:
    """Every route that takes a body, and every other, for a stated time."""
    seed = int.from_bytes(os.urandom(4))
    verdict.counts |= {"seed": seed, "minutes": SIZE.minutes}
    async with house(config(), ready=False) as running:
        running.key = KEY
        await running.wait_ready()
        routes = await schemas(running)
        until = time.monotonic() + 60 * SIZE.minutes
        async with pulse(running) as seen:

            async def ask(rng: random.Random) -> None:
                grammars = {path: Grammar(document, rng) for path, (document, _) in routes.items()}
                async with running.client() as client:
                    while time.monotonic() < until:
                        if rng.random() < _OTHERS:
                            path = rng.choice(READS).replace("tiny", quote(rng.choice(_NAMES)))
                            _judge_get(verdict, path, await client.get(path + rng.choice(_TAILS)))
                            continue
                        path = rng.choice(list(routes))
                        body = body_of(grammars[path], path, routes[path][1], rng)
                        judge(verdict, f"{path} {body[:300]!r}", await client.post(path, body), path)
                        verdict.count("bodies")
                        verdict.count(f"bodies of {path}")

            await asyncio.gather(*(ask(random.Random(seed + at)) for at in range(4)))
        await judge_house(verdict, running, seen)


def _judge_get(verdict: Verdict, path: str, answer: Answer) -> None:
    verdict.count("other requests")
    is_right = answer.is_whole and answer.status in (200, 400, 404)
    verdict.expect(is_right, f"GET {path}: {answer.status} {answer.body[:100]!r}")


SCENARIOS: dict[str, Scenario] = {"fuzz": fuzz}
