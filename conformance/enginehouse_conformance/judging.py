"""What comes of a check: its verdict, or the one that stands for the exception that ended it."""

from __future__ import annotations

import asyncio

from enginehouse_plugin.errors import ContextTooLong, EnginehouseError

from .answer import BUSY_STATUSES
from .context import Context
from .probes import probe_absent, refused_means
from .registry import Check
from .targets import Busy, NoRoom, Refused, ServerFailure
from .verdicts import Ended, Failed, Verdict
from .wire.faults import BrokenAnswer, TransportFault

_ROOM_TOKENS = 1024
"""In a context of that many tokens the requests have room that checks of the contract make."""

Judgement = tuple[Verdict, str, str, str]  # verdict, message, what was expected, what was seen


def failed(expected: str, seen: str) -> Judgement:
    """The judgement `fail`."""
    return Verdict.FAIL, f"expected {expected}; seen {seen}", expected, seen


async def judged(check: Check, context: Context) -> Judgement:
    """What comes of *check*, for its rule; TransportFault and TimeoutError are the caller's."""
    rule = context.rule
    try:
        absent = [feature for feature in rule.features if not context.declared.has(feature)]
        denied = [feature for feature in rule.features if context.declared.denies(feature)]
        if rule.when_absent and not denied:
            return Verdict.NOT_APPLICABLE, f"the target does not say that it has no {rule.features[0]}", "", ""
        if absent and not denied:
            return Verdict.NOT_APPLICABLE, f"the target does not say that it has {', '.join(absent)}", "", ""
        if absent and not rule.when_absent:
            return await _unsupported(context, denied)
        await check.function(context)
    except Failed as exc:
        if _was_busy(context):
            return Verdict.ERROR, f"the target is busy, so that it cannot be told whether: {exc.message}", "", ""
        return Verdict.FAIL, exc.message, exc.expected, exc.seen
    except Ended as exc:
        return exc.verdict, exc.message, "", ""
    except NoRoom as exc:
        return _no_room(context, str(exc))
    except ContextTooLong as exc:
        if (context.declared.context_tokens or _ROOM_TOKENS) < _ROOM_TOKENS:
            return _no_room(context, str(exc))
        return failed("an answer", f"the target failed: {exc}")
    except Refused as exc:
        if (means := refused_means(context, exc.refusal)) is not None:
            why = f"what the rule needs cannot be tried: {means} is refused, which it uses and is not about: {exc}"
            return Verdict.INCONCLUSIVE, why, "", ""
        return failed("the request to be served: nothing in it is declared absent", f"refused: {exc}")
    except (ServerFailure, EnginehouseError) as exc:
        return failed("an answer", f"the target failed: {exc}")
    except BrokenAnswer as exc:
        return failed("an answer of the documented form", str(exc))
    except Busy as exc:
        return Verdict.ERROR, f"the target is busy: {exc}", "", ""
    except (TransportFault, TimeoutError):
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return failed("an answer", "the target's code raised CancelledError although nobody cancelled")
    except Exception as exc:  # noqa: BLE001  # the outermost handler: a check's mistake must not end the run
        return Verdict.ERROR, f"the check itself broke: {type(exc).__name__}: {exc}", "", ""
    return Verdict.PASS, "", "", ""


def _was_busy(context: Context) -> bool:
    """Whether the last request of a check was put off, and not by a fault that the rule itself has made."""
    exchanges = context.recording.exchanges
    return bool(exchanges) and exchanges[-1].status in BUSY_STATUSES and "fault" not in context.rule.hooks


def _no_room(context: Context, refusal: str) -> Judgement:
    limit = context.declared.context_tokens
    why = f"what the rule needs has no room in the context of {limit} tokens that the target declares: {refusal}"
    return Verdict.INCONCLUSIVE, why, "", ""


async def _unsupported(context: Context, absent: list[str]) -> Judgement:
    for feature in absent:
        wrong = await probe_absent(context, feature)
        if wrong is not None:
            return failed(f"400 naming the field, because '{feature}' is declared absent", wrong)
    return Verdict.UNSUPPORTED, f"declared absent and refused: {', '.join(absent)}", "", ""
