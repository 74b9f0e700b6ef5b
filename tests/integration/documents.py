"""The documents in tests/api_documents: the requests and the answers that they show, as they are written there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "api_documents"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A request as *document* shows it, in the language *kind*: `curl`, `python`, `node`, `http` or `json`."""

    document: str
    kind: str
    text: str


class Line(NamedTuple):
    """A request in HTTP's own words."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


def read(document: str) -> str:
    """The text of *document*."""
    return (FOLDER / document).read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    """The blocks of *text* that are marked as of *language*."""
    return [block for marked, block in _FENCED.findall(text) if marked == language]


def reference_examples() -> list[Example]:
    """The programs of DOS AI's reference."""
    document = "dos-ai-reference.md"
    kinds = {"bash": "curl", "python": "python", "javascript": "node"}
    return [
        Example(document, kind, block) for language, kind in kinds.items() for block in fenced(read(document), language)
    ]


def guide_examples() -> list[Example]:
    """The requests of DOS AI's guide: a line, headers, an empty line, a body."""
    document = "dos-ai-guide.txt"
    found = re.findall(r"^POST /.*?^\}$", read(document), re.MULTILINE | re.DOTALL)
    return [Example(document, "http", text) for text in found]


def krosai_examples() -> list[Example]:
    """The bodies that KrosAI's reference calls example requests."""
    document = "krosai-reference.txt"
    found = re.findall(r"^Example Request$\s*(^\{.*?^\})$", read(document), re.MULTILINE | re.DOTALL)
    return [Example(document, "json", text) for text in found]


def shown_bodies(document: str) -> list[str]:
    """Whatever reads like the body of a request in *document*."""
    return re.findall(r'^\s*"messages"\s*:', read(document), re.MULTILINE)


def authored(profile: str) -> Example:
    """Our own example for *profile*, whose document shows none."""
    text = read("authored.md").split(f"## {profile}\n")[1].split("\n## ")[0]
    (body,) = fenced(text, "json")
    return Example("authored.md", "json", body)


def line(text: str) -> Line:
    """Take a request in HTTP's words apart."""
    head, body = re.split(r"\n\s*\n", text, maxsplit=1)
    first, *headers = head.splitlines()
    method, path = first.split()
    return Line(method, path, dict(header.split(": ", 1) for header in headers), body)


def documented_answers() -> dict[str, Any]:
    """The answers that documents show, by profile and kind."""
    reference = read("dos-ai-reference.md")
    bodies = [json.loads(block) for block in fenced(reference, "json")]
    chunks = [json.loads(chunk) for chunk in re.findall(r"^data: (\{.*\})$", reference, re.MULTILINE)]
    kros = re.search(r"^Example Response$\s*(^\{.*?^\})$", read("krosai-reference.txt"), re.MULTILINE | re.DOTALL)
    usage = re.search(r"^\{.*?^\}", read("dottxt-reference.txt"), re.MULTILINE | re.DOTALL)
    assert kros is not None
    assert usage is not None
    return {
        "dos-ai": next(body for body in bodies if body.get("object") == "chat.completion"),
        "dos-ai calls": next(body for body in bodies if "choices" in body and "object" not in body),
        "dos-ai chunks": chunks,
        "krosai": json.loads(kros[1]),
        "dottxt usage": json.loads(usage[0]),
    }


def lacks(answer: Any, shown: Any, place: str = "") -> list[str]:
    """Name the places where *answer* lacks what *shown* has, or has it of another kind."""
    if isinstance(shown, dict):
        if not isinstance(answer, dict):
            return [place]
        return [
            missing
            for name, below in shown.items()
            for missing in (lacks(answer[name], below, f"{place}.{name}") if name in answer else [f"{place}.{name}"])
        ]
    if isinstance(shown, list):
        if not isinstance(answer, list) or not answer:
            return [place]
        return [missing for each in answer for missing in lacks(each, shown[0], f"{place}[]")]
    return [] if shown is None or type(answer) is type(shown) else [place]
