"""Runs of the suite against the stub, right or mutated: what the self-tests, and authors of checks, use."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse_conformance.declared import Declared, Hooks
from enginehouse_conformance.results import Report
from enginehouse_conformance.rules import PROFILES, RULES
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import BackendTarget, UrlTarget
from enginehouse_conformance.verdicts import Verdict
from enginehouse_plugin import Placement

from . import template, vocabulary
from .behaviour import Behaviour
from .engine import STUB_FEATURES, stub_backend
from .fields import EFFORTS
from .server import StubServer

_KEY = "stub-key"
_VARIABLES = {template.VARIABLE: ("short", "long and winding")}
_PATIENCE_S = 1.0  # nothing restarts a stub


async def run_on_stub(
    behaviour: Behaviour | None = None,
    *,
    rules: Iterable[str] | None = None,
    profile: str = "openai",
    seed: int = 0,
    absent: frozenset[str] = frozenset(),
    engine_features: frozenset[str] = STUB_FEATURES,
    check_timeout_s: float = 30.0,
    time_scale: float = 1.0,
) -> Report:
    """The report on the stub over HTTP, every feature declared but *absent*, all hooks offered."""
    async with StubServer(behaviour, profile=profile, key=_KEY, seed=seed, features=engine_features - absent) as server:
        declared = Declared(
            features=STUB_FEATURES - absent - _never_seen(profile),
            template_variables=_VARIABLES,
            eos_ids=(vocabulary.EOS, vocabulary.END_TURN),
            vocabulary_size=vocabulary.SIZE,
            max_body_bytes=server.behaviour.max_body_bytes,
            keys=True,
            reasoning_efforts=EFFORTS,
            hooks=Hooks(url=server.hooks_url),
        )
        target = UrlTarget(
            server.url,
            model=server.behaviour.model,
            key=_KEY,
            query={"agent": "true"} if profile == "digitalocean-agent" else None,
            declared=declared,
            timeout_s=check_timeout_s,
        )
        return await run_suite(target, _options(rules, profile, seed, check_timeout_s, time_scale))


async def run_on_stub_backend(
    behaviour: Behaviour | None = None,
    *,
    rules: Iterable[str] | None = None,
    profile: str = "openai",
    seed: int = 0,
    engine_features: frozenset[str] = STUB_FEATURES,
    check_timeout_s: float = 30.0,
    time_scale: float = 1.0,
) -> Report:
    """The report on the stub as a backend, without HTTP."""
    declared = Declared(
        eos_ids=(vocabulary.EOS, vocabulary.END_TURN), reasoning_efforts=EFFORTS, template_variables=_VARIABLES
    )
    placement = Placement(model="stub-1", backend="stub", source="toy")
    target = BackendTarget(stub_backend(behaviour, features=engine_features, seed=seed), placement, declared=declared)
    return await run_suite(target, _options(rules, profile, seed, check_timeout_s, time_scale))


def _options(
    rules: Iterable[str] | None, profile: str, seed: int, check_timeout_s: float, time_scale: float
) -> Options:
    only = None if rules is None else frozenset(rules)
    return Options(
        profile=profile,
        seed=seed,
        only=only,
        audit=next((RULES[rule].audit for rule in only or () if RULES[rule].audit), None),
        check_timeout_s=check_timeout_s,
        patience_s=_PATIENCE_S,
        time_scale=time_scale,
    )


def _never_seen(profile: str) -> set[str]:
    """What the stub never shows in *profile*: it reasons where it is asked to."""
    return set() if "reasoning_effort" in PROFILES[profile].parameters else {"reasoning"}


def by_verdict(report: Report, *verdicts: Verdict) -> dict[str, str]:
    """Rules that came out as one of *verdicts*, with the message."""
    return {result.rule: result.message for result in report.results if result.verdict in verdicts}
