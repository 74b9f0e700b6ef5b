"""What somebody names on the command line: which weights are meant, in which format, and what they are called.

`MODEL` is a GGUF file, a folder, `demo:NAME`, or `hub:ORG/REPO[@REVISION][:QUANT]`. A hub is asked which files there
are, and the answer is pinned to the commit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from enginehouse_plugin.errors import SourceNotFound

from . import demo, hub
from .errors import InvalidSource
from .source import DemoSource, HubSource, LocalSource, looks_like_repository, parse

GGUF = "gguf"
SAFETENSORS = "safetensors"

_HUB = re.compile(r"hub:(?P<repo>[^@:]+)(@(?P<revision>[^:]+))?(:(?P<quant>[^/:@]+))?")
_LATER_SHARD = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
_PROJECTOR = re.compile(r"(^|[-_./])mmproj[-_.]", re.IGNORECASE)
_USUAL_QUANTS = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q6_K", "Q8_0", "BF16", "F16")
"""Of several files the first of these is taken: half the size of 8 bits at a small loss."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Weights in a *format*, by a `source` as configurations have it; `name` is a model ID for them."""

    source: str
    format: str
    name: str


def looks_wanted(text: str) -> bool:
    """Whether *text* names weights, rather than being words: by its form, or because they are there."""
    path = Path(text).expanduser()
    is_there = path.is_dir() and any(any(path.glob(f"*.{ending}")) for ending in (SAFETENSORS, GGUF))
    return text.startswith(("hub:", "demo:")) or text.endswith(".gguf") or is_there


def wanted(model: str) -> Wanted:
    """Find out what *model* means. Asks a hub, and reads no weights.

    Raises:
        LoadError: there are no such weights; the message says what to write.
    """
    if hub_form := _HUB.fullmatch(model):
        repo, revision, quant = hub_form["repo"], hub_form["revision"] or "main", hub_form["quant"]
        return _of_hub(parse(f"hub:{repo}@{revision}"), quant)
    match parse(model):
        case DemoSource(name):
            return Wanted(source=demo.demo_named(name).source, format=GGUF, name=name)
        case LocalSource(path):
            return _of_path(model, path.absolute())
        case _:
            raise InvalidSource(
                model,
                problem="it names no weights",
                fix="Give a GGUF file, a folder with safetensors, hub:ORG/REPO or demo:smollm2-135m; "
                "a remote server needs a configuration.",
            )


def _of_path(model: str, path: Path) -> Wanted:
    if path.is_file():
        with path.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise InvalidSource(model, problem="the file is no GGUF file", fix="Safetensors are named by folder.")
        return Wanted(source=str(path), format=GGUF, name=_stem(path.name))
    if not path.is_dir():
        meant = f" Is hub:{model} meant?" if looks_like_repository(model) else ""
        raise SourceNotFound(str(path), fix=f"There is no such file or folder.{meant}")
    if any(path.glob("*.safetensors")):
        return Wanted(source=str(path), format=SAFETENSORS, name=path.name)
    file = _one_of(model, [file.name for file in path.glob("*.gguf")], None)
    return Wanted(source=str(path / file), format=GGUF, name=_stem(file))


def _of_hub(source: object, quant: str | None) -> Wanted:
    assert isinstance(source, HubSource)  # noqa: S101  # of the form that was matched
    file = source.file
    if file is None:
        commit, files = hub.listed(source)
        source = HubSource(source.repo, commit)
        if quant is None and any(name.endswith(".safetensors") for name in files):
            return Wanted(source=str(source), format=SAFETENSORS, name=source.repo.rpartition("/")[2])
        file = _one_of(str(source), files, quant)
    elif not file.endswith(".gguf"):
        raise InvalidSource(str(source), problem="the file is no GGUF file", fix="Safetensors are named by repository.")
    source = HubSource(source.repo, source.revision, file)
    return Wanted(source=str(source), format=GGUF, name=_stem(file.rpartition("/")[2]))


def _one_of(model: str, files: Sequence[str], quant: str | None) -> str:
    """The file of *files* that is meant: the one of *quant*, else the only one, else one of a usual size."""
    ggufs = sorted(
        name
        for name in files
        if name.endswith(".gguf") and not _LATER_SHARD.search(name) and not _PROJECTOR.search(name)
    )
    for one in (quant,) if quant else (None, *_USUAL_QUANTS):
        fit = ggufs if one is None else [name for name in ggufs if _is_quant(name, one)]
        if len(fit) == 1:
            return fit[0]
    if not ggufs:
        problem, fix = "there are neither safetensors nor GGUF files", "Name another."
    else:
        problem = f"no one file of it is '{quant}'" if quant else "it has several GGUF files, each a model of its own"
        fix = f"Name one. There are: {', '.join(ggufs)}."
    raise InvalidSource(model, problem=problem, fix=fix)


def _is_quant(name: str, quant: str) -> bool:
    return re.search(rf"(^|[-_./]){re.escape(quant)}([-_./]|$)", name, re.IGNORECASE) is not None


def _stem(file: str) -> str:
    return re.sub(r"-00001-of-\d{5}$", "", file.removesuffix(".gguf"))
