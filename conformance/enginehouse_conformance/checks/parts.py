"""MSG: parts of messages that are no text. Each is given twice, unlike in what it shows and alike in all else."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import Any

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import are_apart
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, Refused, ServerFailure

_SIDE = 64
_RATE_HZ = 16_000
_RED, _BLUE = b"\xe0\x10\x10", b"\x10\x10\xe0"

Part = dict[str, Any]


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _picture(colour: bytes) -> Part:
    """A square of one *colour*."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    rows = (b"\0" + colour * _SIDE) * _SIDE
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_encoded(data)}"}}


def _sound(pitch_hz: int) -> Part:
    """A second of one tone."""
    samples = (int(12_000 * math.sin(2 * math.pi * pitch_hz * at / _RATE_HZ)) for at in range(_RATE_HZ))
    data = b"".join(struct.pack("<h", sample) for sample in samples)
    form = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, _RATE_HZ, 2 * _RATE_HZ, 2, 16, b"data", len(data))
    wave = b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data
    return {"type": "input_audio", "input_audio": {"data": _encoded(wave), "format": "wav"}}


def _file(text: str) -> Part:
    """A file of *text*."""
    data = f"data:text/plain;base64,{_encoded(text.encode())}"
    return {"type": "file", "file": {"filename": "note.txt", "file_data": data}}


async def _require_read(ctx: Context, question: str, one: Part, other: Part) -> None:
    """Each part adds to the prompt, also both together, and the two are not the same to the model."""
    text = {"type": "text", "text": question}
    bodies: list[Body] = [
        ctx.body(messages=[{"role": "user", "content": content}], max_tokens=1)
        for content in ([text], [text, one], [text, other], [text, one, other])
    ]
    alone, shown = [(await ctx.ask(body)).prompt_tokens for body in bodies[:2]]
    kind = one["type"]
    ctx.require(shown > alone, f"more than {alone} prompt_tokens with a part of type {kind}", shown)
    both = await ctx.attempt(bodies[3])
    if isinstance(both, Refusal):
        ctx.require(both.status in (400, None), f"two parts of type {kind}, or 400", str(both))
        ctx.note(f"two parts of type {kind} in one message are refused")
    else:
        ctx.require(
            both.prompt_tokens > shown,
            f"more than {shown} prompt_tokens with two parts of type {kind}",
            both.prompt_tokens,
        )
    is_apart = await are_apart(ctx, bodies[1], bodies[2])
    ctx.require(is_apart, f"another prompt with another {kind}", "the same prompt")


@check("MSG20")
async def pictures_are_seen(ctx: Context) -> None:
    await _require_read(ctx, "Which colour is this?", _picture(_RED), _picture(_BLUE))


@check("MSG42")
async def no_picture_is_dropped_in_silence(ctx: Context) -> None:
    text, picture = {"type": "text", "text": "Which colour is this?"}, _picture(_RED)

    def asking(*parts: Part) -> Body:
        return ctx.body(messages=[{"role": "user", "content": [*parts]}], max_tokens=1)

    alone = (await ctx.ask(asking(text))).prompt_tokens
    try:
        shown = (await ctx.ask(asking(text, picture))).prompt_tokens
    except (Refused, ServerFailure) as exc:  # with which status is a matter of other rules
        ctx.note(f"a picture is refused: {exc}")
        return
    ctx.require(shown > alone, f"a refusal, or more than {alone} prompt_tokens with a picture", shown)


@check("MSG21")
async def sounds_are_heard(ctx: Context) -> None:
    await _require_read(ctx, "Is this tone high or low?", _sound(220), _sound(1760))


@check("MSG22")
async def files_are_read(ctx: Context) -> None:
    words = [ctx.nonce() for _ in range(2)]
    await _require_read(ctx, "What does the file say?", _file(words[0]), _file(words[1]))
