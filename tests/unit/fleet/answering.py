"""Scripted engines whose answers have log probabilities, and a fleet of them: a street.

Each engine has weights of its own that can be changed while it serves; what it answers follows from the prompt and
these weights. They take no device, as upstreams.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
from tests.unit.conftest import CPU, QUICK, NoOptions, Reader, Script, a_request, turn_until

from enginehouse.accounts import Ledger
from enginehouse.accounts.store import open_store
from enginehouse.certificates import Certificate, Certificates, Proof
from enginehouse.certificates.answers import encode_fingerprint
from enginehouse.config import Config, ModelConfig, PlacementConfig, UsageConfig, WatchConfig
from enginehouse.fleet import Fleet, HostedInstance, Planner
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import (
    AnyEvent,
    Capabilities,
    Chat,
    Finished,
    GenerationRequest,
    InstanceChange,
    Started,
    TextDelta,
    TokenLogprob,
    TopLogprob,
    UsageReport,
)
from enginehouse_plugin.errors import EngineFailure

WORDS = [f"w{number}" for number in range(40)]
Q4_0, Q8_0, F16, SAME = 0.9, 0.09, 0.004, 0.0


class Engine(Script):
    """A scripted engine whose logits are off by about *error* from the model's own; `asked` counts its probes."""

    def __init__(self, error: float = SAME, *, gives_logprobs: bool = True) -> None:
        super().__init__()
        features = {"streaming", "stop"} | ({"logprobs"} if gives_logprobs else set())
        self.capabilities = Capabilities(
            context_tokens=512, max_concurrent_requests=2, features=frozenset(features), limits={"top_logprobs": 20}
        )
        self.error = error
        self.more_tokens = 0
        self.answer = self.answers
        self.fails = False

    async def answers(self, _: Any, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        if self.fails:
            raise EngineFailure("it is out of order")
        assert isinstance(request.prompt, Chat)
        prompt = str(request.prompt.messages[-1].content)
        dice, own = random.Random(prompt), random.Random(f"{prompt}/{self.error}")
        logits = {word: -5 + dice.gauss(0, 2) + self.error * own.gauss(0, 1.25) for word in WORDS}
        ranked = sorted(logits, key=lambda word: -logits[word])
        top = tuple(TopLogprob(word, at, word.encode(), logits[word]) for at, word in enumerate(ranked[:20]))
        entry = TokenLogprob(ranked[0], 0, ranked[0].encode(), logits[ranked[0]], top)
        n_tokens = len(prompt.split()) + self.more_tokens
        yield Started(prompt_tokens=n_tokens)
        text = " ".join(ranked[: request.max_tokens or 3])
        yield TextDelta(choice=0, text=text, completion_tokens=1, logprobs=(entry,) if request.logprobs else None)
        yield Finished(choice=0, reason="length")
        yield UsageReport(prompt_tokens=n_tokens, completion_tokens=1)


class Street:
    """A fleet whose model `m` has a placement on each of *engines*."""

    def __init__(self, folder: Path, *engines: Engine, usage: bool = False, **model: Any) -> None:
        self.engines = engines
        self.certificates = Certificates(folder / "certificates")
        self.changes: list[InstanceChange] = []
        self.kinds = {f"e{at}": engine.type(name=f"e{at}", kinds=()) for at, engine in enumerate(engines)}
        placements = tuple(PlacementConfig(backend=name, source="there", options=NoOptions()) for name in self.kinds)
        trust = model.pop("trust", "declared")
        watch = WatchConfig(interval_s=model.pop("interval_s", 60.0), false_alarm_days=30)
        self.config = Config(models={"m": ModelConfig(placements=placements, **model)}, trust=trust, watch=watch)
        accounts = msgspec.structs.replace(self.config, usage=UsageConfig(str(folder / "u.db")))
        self.ledger = Ledger(open_store(accounts)) if usage else None
        self.fleet = Fleet(
            self.config,
            self.kinds,
            (CPU,),
            on_change=self.changes.append,
            policy=QUICK,
            certificates=self.certificates,
            on_probe=lambda *told: self.service.probed(*told),
        )
        self.service = Service(Plugins(), self.fleet, ledger=self.ledger)

    async def open(self) -> Street:
        self.fleet.start()
        await turn_until(lambda: all(hosted.state == "ready" for hosted in self.hosted))
        return self

    async def close(self) -> None:
        await self.fleet.close()
        if self.ledger is not None:
            self.ledger.close()

    @property
    def hosted(self) -> list[HostedInstance]:
        return self.fleet.models["m"].instances

    async def ask(self) -> str | None:
        """Ask the model; returns the instance that answered."""
        facts, reader = self.service.begin("r1"), Reader()
        self.service.open(a_request(), "m", client="a", facts=facts, sink=reader)
        await reader.answer()
        self.service.finish(facts, 200)
        return facts.instance_id

    async def certify(self, at: int, *features: str) -> Certificate:
        """Store a certificate of the placement *at*, with the fingerprint that its instance has now."""
        planned = Planner(self.config.models, (CPU,), self.kinds).plans["m"].instances[at]
        key = await self.certificates.key(planned.backend, planned.for_backend(None), planned.devices)
        made = Certificate(
            certificate_version=1, key=key, model="m", source="there", certified_at="2026-11-21T07:30:00+00:00",
            duration_s=1.0, selection="all", seed=1, general=Proof(state="proven", passed=1),
            features={name: Proof(state="proven", passed=1) for name in features},
        )  # fmt: skip
        self.certificates.folder.save(made)
        taken = self.hosted[at].identity.taken
        assert taken is not None
        self.certificates.folder.save_fingerprint(made, encode_fingerprint(taken))
        return made


def probes_of(engine: Engine) -> list[GenerationRequest]:
    return [request for request in engine.requests if request.id.startswith("probe")]
