"""[C] Forced content: schemas whose only values are fresh nonces, and tools with the same."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from enginehouse_conformance.answer import Answer, Choice
from enginehouse_conformance.context import Context
from enginehouse_conformance.verdicts import Unclear

from .cut_json import begins_json

TRIES = 3
"""How often an answer is asked for that max_tokens cuts short before it is complete."""

_BLANKS_OUTSIDE_STRINGS = re.compile(r'("(?:[^"\\]|\\.)*"?)|[ \t\r\n]+')


def json_schema(schema: dict[str, Any], name: str = "answer") -> dict[str, Any]:
    """The `response_format` that asks for *schema*, strictly."""
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def object_of(**properties: Any) -> dict[str, Any]:
    """The schema of an object with exactly *properties*, all required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def saying(value: str) -> dict[str, Any]:
    """The `response_format` under which the answer is the object {"v": value} and nothing else."""
    return json_schema(object_of(v={"type": "string", "const": value}))


def tool(name: str, parameters: dict[str, Any] | None = None, description: str = "A tool.") -> dict[str, Any]:
    """A tool; without *parameters* it takes none."""
    function: dict[str, Any] = {"name": name, "description": description}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def named(name: str) -> dict[str, Any]:
    """The `tool_choice` that forces the tool *name*."""
    return {"type": "function", "function": {"name": name}}


def nonce_tool(ctx: Context) -> tuple[str, str, dict[str, Any]]:
    """A tool with a nonce for a name whose one argument `v` can only be another nonce: name, value, tool."""
    name, value = f"t_{ctx.nonce()}", ctx.nonce()
    return name, value, tool(name, object_of(v={"type": "string", "enum": [value]}))


def decoded(ctx: Context, text: str) -> Any:
    """*text* as JSON; fails where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        ctx.fail("content that is JSON and nothing else", f"{text[:200]!r} ({exc})")


def is_whole(ctx: Context, text: str, finish: str | None, value: str, what: str) -> bool:
    """Whether *text* is the object {"v": value}, or the limit cut it short on the way there (False).

    Fails where it is neither: also an answer that was cut must begin as the whole would. *what* names the text.
    """
    if finish == "length" and is_cut_short(text, value):
        return False
    ctx.equal(decoded(ctx, text), {"v": value}, what)
    return True


def is_cut_short(text: str, value: str) -> bool:
    """Whether *text* is less than the object {"v": value}, and something can follow that makes it that."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # Beyond ASCII, which characters are escaped is nobody's rule: what comes before them is compared.
        whole = json.dumps({"v": value}, ensure_ascii=False, separators=(",", ":"))
        head = whole[: next((at for at, char in enumerate(whole) if not char.isascii()), None)]
        begun = _BLANKS_OUTSIDE_STRINGS.sub(lambda found: found[1] or "", text)
        return begins_json(text) and (head.startswith(begun) or begun.startswith(head))
    return False


def is_whole_call(ctx: Context, choice: Choice, name: str, value: str, whose: str = "") -> bool:
    """Whether *choice* is the one call of *name* with {"v": value}, or was cut short on the way there (False)."""
    if not choice.calls and choice.finish == "length" and not choice.text.strip():
        return False
    ctx.equal([call.name for call in choice.calls], [name], f"the calls{whose}")
    return is_whole(ctx, choice.calls[0].arguments, choice.finish, value, f"the arguments{whose}")


async def whole_answer(ctx: Context, value: str, what: str, *, stream: bool = False, **fields: object) -> Answer:
    """The answer under `saying(value)`, which says it; asked for again where it was cut short.

    Ends the check with `inconclusive` where that happens `TRIES` times. *what* names the answer.
    """
    body = ctx.body(response_format=saying(value), **fields)
    for _ in range(TRIES):
        answer = await (ctx.stream(body) if stream else ctx.ask(body))
        if is_whole(ctx, answer.text, answer.finish, value, what):
            return answer
    raise never_complete(body["max_tokens"])


def never_complete(max_tokens: int) -> Unclear:
    """What a check ends with where each of `TRIES` answers was cut short."""
    return Unclear(f"{TRIES} answers in a row were not complete within {max_tokens} tokens")
