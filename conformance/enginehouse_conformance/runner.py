"""Runs checks against a target and makes the report. Nothing that a target does ends in a traceback."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec

from .context import Context, Shared
from .endpoints.presence import SERVED, absent_among
from .judging import Judgement, failed, judged
from .probes import advice
from .registry import Check, all_checks
from .results import NOT_ASKED, REPEATS, REPORT_VERSION, Report, Result, SuiteFacts, Transcript, summarise
from .rules import PROFILES, RULES, ProfileData, Rule
from .targets import Target
from .targets.base import now_s
from .verdicts import Verdict
from .vitals import Illness, Vitals
from .wire.faults import Closed, TransportFault, WireFault

SPECIFICATION = "2026.11"
_KEPT_TRANSCRIPTS = 6
_ENDED_BADLY = (Verdict.FAIL, Verdict.ERROR)

OnResult = Callable[[Result], None]
OnStart = Callable[[Rule], None]


def _ignore(event: object) -> None:
    """Nobody watches."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to run. `skip` maps a rule to the reason why it is disabled; `only` None means all rules.

    `check_timeout_s` is what a check may take; some have longer, as they say. `patience_s` is how long a target that a
    request brought down may take to come back. `time_scale` multiplies the time of each check, and what rules give a
    target to do something in, for machines that do other work meanwhile.

    Without `audit` no rule of an audit is run, even if it is named; with it no others are, unless they are.

    `endpoints` are those to ask; None: chat, and whatever else the target serves. One that is asked for by name and is
    not there leaves its rules without a verdict, otherwise they do not apply.
    """

    profile: str = "openai"
    seed: int = 0
    only: frozenset[str] | None = None
    quick: bool = False
    strict: bool = False
    skip: Mapping[str, str] = {}
    concurrency: int = 4
    check_timeout_s: float = 120.0
    patience_s: float = 30.0
    time_scale: float = 1.0
    endpoints: frozenset[str] | None = None
    audit: str | None = None
    reproduce: str = ""


def selected_rules(options: Options) -> list[Rule]:
    """The rules of the profile that *options* select, in the order of the documents."""
    profile = PROFILES[options.profile]
    return [
        rule
        for rule in RULES.values()
        if rule.level_in(profile) is not None
        and _is_meant(rule, options)
        and (not options.quick or rule.quick)
        and (options.endpoints is None or rule.endpoint in options.endpoints)
    ]


def _is_meant(rule: Rule, options: Options) -> bool:
    """Whether *options* mean the rule: one of an audit only with that."""
    if rule.audit not in (None, options.audit):
        return False
    return rule.audit == options.audit if options.only is None else rule.id in options.only


class Run:
    """One run of the suite against one opened target."""

    def __init__(
        self,
        target: Target,
        options: Options,
        *,
        on_start: OnStart = _ignore,
        on_result: OnResult = _ignore,
    ) -> None:
        self.target = target
        self.options = options
        self.profile: ProfileData = PROFILES[options.profile]
        self._on_start = on_start
        self._on_result = on_result
        self._shared = Shared()
        self._checks = all_checks()
        self._fault: str | None = None
        self._interruption: str | None = None
        self._work: asyncio.Task[None] | None = None
        self._results: dict[str, Result] = {}
        self._told: str | None = None
        self._not_there: dict[str, str] = {}
        patience_s = min(options.patience_s, options.check_timeout_s)
        self._vitals = Vitals(target, timeout_s=options.check_timeout_s, patience_s=patience_s)

    def give_up(self, fault: str) -> None:
        """The target cannot be asked: every rule that would ask it is an error, because of *fault*."""
        self._fault = fault

    def interrupt(self, why: str) -> None:
        """End now: the report has the results so far, and *why* there are no more."""
        self._interruption = why
        if self._work is not None:
            self._work.cancel()

    async def whole(self) -> Report:
        """Open the target, run the selected rules, close it, and return the report."""
        try:
            try:
                await self.target.open()
            except WireFault as exc:
                self.give_up(str(exc))
            return await self.report()
        finally:
            await self.target.close()

    async def report(self) -> Report:
        """Run everything selected and return the report; the results are in the rules' order."""
        started_at = datetime.now(UTC)
        began = now_s()
        rules = selected_rules(self.options)
        asked = list(dict.fromkeys(name for rule in rules for name in (rule.endpoint, *rule.beside)))
        self._work = asyncio.create_task(self._ask_all(rules, asked))
        try:
            if self._interruption is not None:
                self._work.cancel()
            await self._work
        except asyncio.CancelledError:
            if self._interruption is None:
                raise
            self._fault = f"{self._interruption} after {len(self._results)} of {len(rules)} rules"
        for rule in rules:
            if rule.id not in self._results:
                self._results[rule.id] = await self._unasked(rule)
        ordered = [self._results[rule.id] for rule in rules]
        return Report(
            report_version=REPORT_VERSION,
            suite=SuiteFacts(
                name="enginehouse-conformance",
                version=version("enginehouse-conformance"),
                specification=SPECIFICATION,
                python=platform.python_version(),
                platform=platform.platform(),
            ),
            started_at=started_at.isoformat(timespec="seconds"),
            duration_s=round(now_s() - began, 3),
            target=self.target.facts(),
            profile=self.profile.name,
            features=list(self.target.declared.present()),
            declared=self.target.declared,
            seed=self.options.seed,
            selection=self._selection(),
            endpoints={name: self._not_there.get(name, SERVED) for name in asked},
            strict=self.options.strict,
            reproduce=self.options.reproduce,
            fault=self._fault,
            summary=summarise(
                ordered,
                strict=self.options.strict,
                partial=self._is_partial(),
                is_cut_short=self._fault is not None,
            ),
            results=ordered,
            notes=self._notes(ordered),
            opening=self._vitals.opening,
        )

    def _notes(self, results: Sequence[Result]) -> list[str]:
        failed = [result for result in results if result.verdict is Verdict.FAIL]
        repeats = [REPEATS] if len(failed) > 1 and any(REPEATS in result.notes for result in failed) else []
        told = [self._told] if self._told else []
        return [*repeats, *told, *advice(self.target.declared, self._shared.refused, self._shared.served)]

    async def _learnt(self) -> str | None:
        """What the target declares about itself, as a note; nothing where it takes too long to say so."""
        try:
            async with asyncio.timeout(self.options.check_timeout_s):
                return await self.target.learn()
        except TimeoutError:
            return None

    def _is_partial(self) -> bool:
        options = self.options
        return (
            self._interruption is not None
            or options.quick
            or any(each is not None for each in (options.only, options.endpoints, options.audit))
        )

    def _selection(self) -> str:
        if self.options.only is not None or self.options.audit is not None:
            named = [f"audit {self.options.audit}"] if self.options.audit else []
            return ", ".join([*named, *sorted(self.options.only or ())])
        chosen = "" if self.options.endpoints is None else f" of {', '.join(sorted(self.options.endpoints))}"
        return ("quick" if self.options.quick else "all") + chosen

    async def _ask_all(self, rules: Sequence[Rule], endpoints: Sequence[str]) -> None:
        if self._fault is None:
            self._fault = await self._vitals.first_look()
        if self._fault is None:
            self._told = await self._learnt()
            self._not_there = await absent_among(endpoints, self.target)
        # Checks that load or measure the target run after the others, one at a time.
        slots = asyncio.Semaphore(self.options.concurrency)

        async def run_shared(rule: Rule) -> None:
            async with slots:
                await self._run_one(rule)

        alone = [rule for rule in rules if rule.id in self._checks and self._checks[rule.id].exclusive]
        async with asyncio.TaskGroup() as group:
            for rule in rules:
                if rule not in alone:
                    group.create_task(run_shared(rule))
        for rule in alone:
            await self._vitals.settle()
            await self._run_one(rule)

    def _context(self, rule: Rule) -> Context:
        return Context(
            rule,
            self.target,
            self.profile,
            seed=self.options.seed,
            shared=self._shared,
            time_scale=self.options.time_scale,
        )

    async def _unasked(self, rule: Rule) -> Result:
        """The result of *rule* where there is a fault, so that nothing is asked."""
        context = self._context(rule)
        return self._result(rule, context, *await self._judge(rule, context), 0.0)

    async def _run_one(self, rule: Rule) -> None:
        context = self._context(rule)
        self._on_start(rule)
        began = now_s()
        self._vitals.begin(rule.id)
        verdict, message, expected, seen = await self._judge(rule, context)
        is_harmless = not context.recording.exchanges
        if verdict in _ENDED_BADLY and self._fault is None:
            illness = await self._vitals.look(rule.id)
            is_harmless = is_harmless or illness is None
            if illness is not None:
                verdict, message, expected, seen = self._of_illness(rule, illness, (verdict, message, expected, seen))
        self._vitals.end(rule.id, is_harmless=is_harmless, was_served=_was_served(verdict, context))
        result = self._result(rule, context, verdict, message, expected, seen, now_s() - began)
        self._results[rule.id] = result
        self._on_result(result)

    async def _judge(self, rule: Rule, context: Context) -> Judgement:
        # In order: what needs no request, then absent features, then the check itself.
        if rule.id in self.options.skip:
            return Verdict.DISABLED, self.options.skip[rule.id], "", ""
        if rule.scope not in self.target.scopes:
            return Verdict.NOT_APPLICABLE, f"scope {rule.scope} does not apply to this kind of target", "", ""
        if self._fault is not None:
            return Verdict.ERROR, f"{NOT_ASKED}{self._fault}", "", ""
        missing = [why for name in (rule.endpoint, *rule.beside) if (why := self._not_there.get(name))]
        if missing:
            is_named = self.options.endpoints is not None
            return Verdict.ERROR if is_named else Verdict.NOT_APPLICABLE, f"not there: {missing[0]}", "", ""
        missing_hooks = [hook for hook in rule.hooks if hook not in self.target.hooks.names]
        if missing_hooks:
            return Verdict.NOT_APPLICABLE, f"the target offers no hook {', '.join(missing_hooks)}", "", ""
        check = self._checks.get(rule.id)
        if check is None:
            return Verdict.ERROR, "the suite has no check for this rule", "", ""
        limit_s = max(check.time_limit_s or 0, self.options.check_timeout_s) * self.options.time_scale
        try:
            async with asyncio.timeout(limit_s) as limit:
                context.recording.limit = limit
                return await judged(check, context)
        except TimeoutError:
            return Verdict.ERROR, f"the check was not done within {limit_s:g} s", "", ""
        except Closed as exc:
            context.recording.limit = None
            return await self._again(rule, check, context, str(exc), limit_s)
        except TransportFault as exc:
            return Verdict.ERROR, str(exc), "", ""

    async def _again(self, rule: Rule, check: Check, context: Context, fault: str, limit_s: float) -> Judgement:
        # A connection may close by chance. Where the target is well and closes it again, it has no answer to give.
        if self._fault is not None or await self._vitals.look(rule.id) is not None:
            return Verdict.ERROR, fault, "", ""
        context.recording.exchanges[-1].retries = [fault]
        try:
            async with asyncio.timeout(limit_s):
                return await judged(check, context)
        except Closed as exc:
            return failed("an answer, as other requests get one", f"{exc}, twice")
        except TransportFault as exc:
            return Verdict.ERROR, str(exc), "", ""
        except TimeoutError:
            return Verdict.ERROR, f"the check was not done within {limit_s:g} s", "", ""

    def _of_illness(self, rule: Rule, illness: Illness, found: Judgement) -> Judgement:
        if not illness.is_over:
            self._fault = f"the target is gone since {' or '.join(illness.suspects)} ran: {illness.sign}"
        others = " or ".join(suspect for suspect in illness.suspects if suspect != rule.id)
        if others:
            why = f"by this check or {others}: run them one at a time"
        elif illness.answers:
            return failed("the target to go on serving plain requests after the check", illness.sign)
        elif illness.is_silent and found[0] is Verdict.FAIL:
            _, _, expected, seen = found
            return failed(expected, f"{seen}; after it a plain request was not served either: {illness.sign}")
        else:
            why = "by this check, or it is out of reach"
        return Verdict.ERROR, f"meanwhile the target stopped serving plain requests ({illness.sign}), {why}", "", ""

    def _result(
        self,
        rule: Rule,
        context: Context,
        verdict: Verdict,
        message: str,
        expected: str,
        seen: str,
        duration_s: float,
    ) -> Result:
        exchanges = context.recording.exchanges
        kept = [] if verdict is Verdict.PASS else exchanges[-_KEPT_TRANSCRIPTS:]
        return Result(
            rule=rule.id,
            level=rule.level_in(self.profile) or rule.level,
            verdict=verdict,
            message=message,
            expected=expected,
            seen=seen,
            notes=list(context.notes),
            provisional=rule.provisional,
            duration_s=round(duration_s, 3),
            requests=len(exchanges),
            retries=context.recording.retries,
            transcripts=[Transcript.of(exchange) for exchange in kept],
        )


def _was_served(verdict: Verdict, context: Context) -> bool:
    """Whether the last request of a check was served: over HTTP it says so, in process the verdict does."""
    exchanges = context.recording.exchanges
    if not exchanges:
        return False
    last = exchanges[-1]
    return last.fault is None and (last.status == 200 or (last.status is None and verdict is Verdict.PASS))


async def run_suite(
    target: Target,
    options: Options,
    *,
    on_start: OnStart = _ignore,
    on_result: OnResult = _ignore,
) -> Report:
    """Open *target*, run the selected rules, close it, and return the report."""
    return await Run(target, options, on_start=on_start, on_result=on_result).whole()
