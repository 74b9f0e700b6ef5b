"""One run of the conformance suite against an instance that is loaded for it, and the certificate that comes of it.

It imports the suite; `certify` imports it when it is used.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from enginehouse.certificates import (
    Certificate,
    Certificates,
    Finding,
    Key,
    Outcome,
    Probed,
    changes,
    engine_of,
    judge,
    probe_instance,
    secret_seed,
    told_of,
)
from enginehouse.certificates.answers import CannotCompare, Fingerprint, InstanceAsker, compared, taken
from enginehouse.certificates.certificate import VERSION
from enginehouse.fleet import InstancePlan
from enginehouse.plugins import probed
from enginehouse_conformance import (
    RULES,
    SECTIONS,
    BackendTarget,
    Options,
    Progress,
    Report,
    Result,
    Verdict,
    details,
    printable,
    progress_for,
    run_suite,
    selected_rules,
    unsettled,
    write_report,
)
from enginehouse_plugin import (
    Backend,
    BackendType,
    Device,
    ExitReport,
    Instance,
    LoadProgress,
    OnProgress,
    Placement,
    ProbeReport,
)
from enginehouse_plugin.errors import EnginehouseError, LoadFailed

_FINDINGS: Mapping[Verdict, Finding] = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.ERROR: "inconclusive",
}
_LONGEST_SEEN = 500
_TIME_SCALE = 5.0
"""What is certified is what an engine honours, not how fast: a server may run beside, and large models are slow."""
_FINGERPRINT_S = 300.0
_READY_S = 30.0
"""How long the instance may take to say that it is still there when the suite has run."""


class NotCertified(click.ClickException):
    """The run gave no result: nothing is stored. The message says why."""


def certify(
    planned: InstancePlan,
    placement: Placement,
    certificates: Certificates,
    *,
    quick: bool,
    has_fingerprint: bool,
    folder: Path | None = None,
) -> tuple[Certificate, Fingerprint | None]:
    """Load *placement* as *planned*, run the suite on it and return what it came to, which is not stored.

    The suite's reports go to *folder*, with what each rule requires.

    With *has_fingerprint* its fingerprint is taken, too, if it gives log probabilities. Progress, and what did not
    pass, is told on standard error.

    Raises:
        NotCertified: there is no result, because the engine did not load or ended, or something changed meanwhile.
    """
    askable = frozenset(rule.id for rule in RULES.values() if rule.scope in BackendTarget.scopes)
    options = Options(only=askable, quick=quick, seed=secrets.randbelow(2**31), time_scale=_TIME_SCALE)
    with progress_for(selected_rules(options)) as progress:
        run = _run(planned, placement, certificates, options, progress, has_fingerprint=has_fingerprint)
        report, key, fingerprint = asyncio.run(run)
    if folder is not None:
        write_report(report, folder)
        requirements = {result.rule: result.requirement for result in report.results}
        (folder / "requirements.json").write_bytes(msgspec.json.encode(requirements))
    for result in unsettled(report):
        click.echo("\n".join(["", *details(result)]), err=True)
    return certificate_of(report, key, placement, quick=quick), fingerprint


async def _run(
    planned: InstancePlan,
    placement: Placement,
    certificates: Certificates,
    options: Options,
    progress: Progress,
    *,
    has_fingerprint: bool,
) -> tuple[Report, Key, Fingerprint | None]:
    key = await _key(planned, placement, certificates)
    loader = _Loader(planned.backend)
    target = _Target(loader.kind, placement, devices=planned.devices)
    if has_fingerprint:
        target.told = told_of(
            planned.backend, placement, planned.devices, await engine_of(planned.backend, placement.python)
        )
    run = asyncio.create_task(run_suite(target, options, on_start=progress.start, on_result=progress.result))
    end = asyncio.create_task(loader.wait_closed())
    try:
        await asyncio.wait([run, end], return_when=asyncio.FIRST_COMPLETED)
        if not run.done() and not target.is_closing and (exit_report := end.result()) is not None:
            words = "".join(f"\n  {printable(line)}" for line in exit_report.last_words)
            raise NotCertified(f"The engine ended while the suite ran: {printable(exit_report.reason)}.{words}")
        await asyncio.wait([run])
        report = run.result()
    finally:
        run.cancel()
        end.cancel()
        await asyncio.wait([run, end])  # the run unloads what it has loaded
    if report.fault is not None:
        raise NotCertified(f"The suite could not run: {printable(report.fault)}")
    if target.silence is not None:
        raise NotCertified(f"The engine did not answer any more at the end: {printable(target.silence)}")
    if changed := changes(key, await _key(planned, placement, certificates)):
        raise NotCertified(f"This changed while the suite ran: {'; '.join(changed)}.")
    return report, key, target.fingerprint


async def _key(planned: InstancePlan, placement: Placement, certificates: Certificates) -> Key:
    try:
        return await certificates.key(planned.backend, placement, planned.devices)
    except OSError as error:
        raise NotCertified(f"The weights cannot be read: {error}.") from error
    except EnginehouseError:
        raise
    except Exception as error:  # a plugin's fault
        raise NotCertified(f"What is certified cannot be told: {type(error).__name__}: {error}.") from error


def certificate_of(report: Report, key: Key, placement: Placement, *, quick: bool) -> Certificate:
    """The certificate that *report* comes to.

    SHOULD counts like MUST: of some features (`seed`, `presence_penalty`) the documents only ask for as much. A rule
    that saw an undeclared feature accepted speaks against the instance in general.
    """
    declared = frozenset(report.features)
    outcomes = [
        Outcome(
            rule=result.rule,
            finding=_FINDINGS[result.verdict],
            features=features if declared.issuperset(features := RULES[result.rule].features) else (),
            topic=SECTIONS[result.section].features,
        )
        for result in report.results
        if result.verdict in _FINDINGS and result.level != "MAY" and not result.provisional
    ]
    general, features_proofs = judge(outcomes, declared, simplest_rules())
    return Certificate(
        certificate_version=VERSION,
        key=key,
        model=placement.model,
        source=placement.source,
        certified_at=report.started_at,
        duration_s=report.duration_s,
        selection="quick" if quick else "all",
        seed=report.seed,
        general=general,
        features=features_proofs,
        seen={outcome.rule: _seen(report, outcome.rule) for outcome in outcomes if outcome.finding != "pass"},
    )


def simplest_rules() -> dict[str, int]:
    """For each feature the number of features that its simplest rules need, of those that an instance can be asked."""
    sizes: dict[str, int] = {}
    for rule in RULES.values():
        if rule.scope != "wire" and not rule.when_absent:
            for feature in rule.features:
                sizes[feature] = min(len(rule.features), sizes.get(feature, len(rule.features)))
    return sizes


def _seen(report: Report, rule: str) -> str:
    result: Result = next(result for result in report.results if result.rule == rule)
    return printable(result.message)[:_LONGEST_SEEN]


async def _fingerprint(instance: Instance, placement: Placement, told: Mapping[str, str]) -> Fingerprint:
    """What *instance* answers to the secret prompts of this installation, and how far a second time is from it."""

    async def ask(prompt: str, temperature: float) -> Probed:
        return await probe_instance(instance, prompt, temperature=temperature)

    seed = await asyncio.to_thread(secret_seed)
    first, again = [
        await taken(InstanceAsker(ask, placement.source, placement.model, told), seed=seed, limit_s=_FINGERPRINT_S)
        for _ in range(2)
    ]
    noise = (await compared(first, again, "itself")).distance
    return msgspec.structs.replace(first, noise=noise)


class _Loader(Backend):
    """The backend of *kind*, whose loading is shown and whose instance is watched."""

    def __init__(self, kind: BackendType) -> None:
        self.kind = msgspec.structs.replace(kind, create=lambda: self)
        self._backend = kind.create()
        self._instance: asyncio.Future[Instance | None] = asyncio.get_running_loop().create_future()
        self._stage = ""

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Ask the backend."""
        return await probed(self._backend, python)

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Load with it; what is not an error of the contract becomes one."""
        del progress
        loaded: Instance | None = None
        try:
            loaded = await self._backend.load(placement, devices, self._show)
            return loaded
        except LoadFailed as error:
            words = "".join(f"\n  {line}" for line in error.last_words)
            raise LoadFailed(f"{error.message}{words}") from error
        except EnginehouseError:
            raise
        except Exception as error:
            raise LoadFailed(f"it broke: {type(error).__name__}: {error}") from error
        finally:
            self._instance.set_result(loaded)

    async def wait_closed(self) -> ExitReport | None:
        """Wait until the instance has ended, and say why; None: it never was, or cannot tell."""
        instance = await asyncio.shield(self._instance)
        if instance is None:
            return None
        try:
            return await instance.wait_closed()
        except Exception:  # noqa: BLE001  # a plugin's fault: then only its answers tell that it has ended
            return None

    def _show(self, progress: LoadProgress) -> None:
        if progress.stage != self._stage:
            self._stage = progress.stage
            click.echo(f"loading: {printable(progress.stage)}", err=True)


class _Target(BackendTarget):
    """A target that says at its end whether it was still there (`silence` is why not), and whose end hides nothing.

    Its `fingerprint` is taken before the suite runs where `told` says how it is served.
    """

    is_closing = False
    silence: str | None = None
    told: Mapping[str, str] | None = None
    fingerprint: Fingerprint | None = None

    async def open(self) -> None:
        """Load it, and take its fingerprint."""
        await super().open()
        if self.told is None or "logprobs" not in (self.declared.features or ()):
            return
        try:
            self.fingerprint = await _fingerprint(self.instance, self.placement, self.told)
        except (CannotCompare, EnginehouseError) as error:
            click.echo(f"No fingerprint: {printable(str(error))}", err=True)

    async def close(self) -> None:
        """Ask once more, and unload."""
        self.is_closing = True
        try:
            async with asyncio.timeout(_READY_S):
                await self.instance.check_ready()
        except TimeoutError:
            self.silence = f"its readiness was not told within {_READY_S:g} s"
        except Exception as error:  # noqa: BLE001  # whatever it is: it does not answer
            self.silence = str(error)
        try:
            await super().close()
        except Exception as error:  # noqa: BLE001  # a plugin's fault, told and survived
            click.echo(f"The instance did not unload: {type(error).__name__}: {printable(str(error))}", err=True)
