"""The router's side: what MLX needs, whether it fits, and the worker that it runs in. Imports no engine."""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginehouse_kit.generation_config import recommended_in
from enginehouse_kit.process.interpreters import versions_in
from enginehouse_kit.process.logs import LogLine
from enginehouse_kit.text.chat_messages import read_template
from enginehouse_kit.text.inputs import pooling_in
from enginehouse_kit.text.templates import check_template, template_in
from enginehouse_kit.worker.backend import WorkerBackend
from enginehouse_plugin import Backend, Device, Fit, Instance, OnProgress, Placement, ProbeReport
from enginehouse_plugin.errors import DoesNotFit, EngineMissing, LoadFailed

from . import footprint, weights
from .options import MlxOptions

FIX = "pip install 'enginehouse-mlx[engine]'"
_PACKAGES = ("mlx", "mlx-lm", "llguidance")
_WORKER = "enginehouse_mlx.engine.worker:MlxWorker"
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # weights are local; the router fetches them
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",  # that there is no torch, on purpose
}

_engine_log = logging.getLogger("enginehouse.engine.mlx")
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


class MlxBackend(Backend):
    """MLX with mlx_lm's models, in a worker process for each instance."""

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Look for the packages in this interpreter, or in *python*, without importing them."""
        if python is None:
            found = _versions()
        else:
            there = await versions_in(python, _PACKAGES)
            if there is None:
                return ProbeReport(available=False, engine="MLX", detail=f"there is no interpreter '{python}'")
            found = there
        missing = [name for name in _PACKAGES if found[name] is None]
        if missing:
            fix = FIX if python is None else f"{python} -m {FIX}"
            return ProbeReport(available=False, engine="MLX", detail=f"not installed: {', '.join(missing)}", fix=fix)
        versions = [f"{name} {found[name]}" for name in _PACKAGES[:2]]
        return ProbeReport(available=True, engine="MLX", engine_version=", ".join(versions), detail=python or "")

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        """Estimate from `config.json` and the headers of the safetensors files.

        Raises:
            SourceNotFound, LoadFailed: there are no weights that MLX can read.
        """
        found = await asyncio.to_thread(weights.read, placement)
        tokens = footprint.context_tokens(placement, found)
        is_processor = not devices or devices[0].kind == "cpu"
        needed = footprint.footprint_bytes(found, options_of(placement), tokens, is_processor)
        return Fit(footprint_bytes={device.id: needed for device in devices[:1]})

    async def recommended(self, placement: Placement) -> Mapping[str, Any]:  # Any: see `Backend`
        """See `Backend.recommended`: `generation_config.json`."""
        return recommended_in(Path(placement.path or placement.source))

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Check the weights' metadata, then load them in a worker.

        Raises:
            SourceNotFound: no folder at the placement's path.
            EngineMissing, LoadFailed, DoesNotFit: see the errors.
        """
        options = options_of(placement)
        if placement.python is None and None in _versions().values():
            raise EngineMissing("MLX", fix=FIX)
        found = await asyncio.to_thread(weights.read, placement)
        pooling_of(placement, options)
        tokens = footprint.context_tokens(placement, found)
        _check_limit(options, found, tokens)
        await asyncio.to_thread(_check_template, options, found)
        worker = WorkerBackend(_WORKER, env=_ENVIRONMENT, on_log=functools.partial(log_line, placement.model))
        try:
            async with asyncio.timeout(options.load_timeout_s):
                return await worker.load(placement, devices, progress)
        except TimeoutError as error:
            raise LoadFailed(f"MLX did not finish loading within {options.load_timeout_s:g} s.") from error


def log_line(model: str, line: LogLine) -> None:
    """Log *line* of the engine that serves *model*, with its level."""
    _engine_log.log(_LEVELS[line.level], "%s: %s", model, line.text)


def _versions() -> dict[str, str | None]:
    """The engine's packages and their versions here, None for those that are missing."""
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def options_of(placement: Placement) -> MlxOptions:
    """The options of *placement*."""
    return placement.options if placement.options is not None else MlxOptions()


def pooling_of(placement: Placement, options: MlxOptions) -> str | None:
    """How the tokens of a text become one vector; None: the model generates.

    Raises:
        LoadFailed: it is for something that MLX does not do here, or nobody says how.
    """
    said = pooling_in(Path(placement.path or placement.source))
    task = placement.task or ("chat" if said is None else "embed")
    if task == "chat":
        return None
    if task == "rerank":
        raise LoadFailed("MLX has no rerankers here; llama.cpp has.", retryable=False, code="bad_options")
    found = options.pooling or said
    if found is None:
        raise LoadFailed(
            "The weights do not say how the tokens of a text become one vector: set the option pooling to what the "
            "model was trained with.",
            retryable=False,
            code="bad_options",
        )
    return found


def _check_template(options: MlxOptions, found: weights.Weights) -> None:
    """Check the chat template before an interpreter is started to find out.

    Raises:
        LoadFailed: it cannot be read.
    """
    if options.chat_template_file is not None:
        check_template(read_template(options.chat_template_file), f"'{options.chat_template_file}'")
    elif options.chat_template is not None:
        check_template(options.chat_template, "the option chat_template")
    elif (template := template_in(found.path)) is not None:
        check_template(template, "the weights")


def _check_limit(options: MlxOptions, found: weights.Weights, tokens: int) -> None:
    """Refuse weights that exceed `memory_limit_mib` with the cache of one slot.

    Raises:
        DoesNotFit: they do.
    """
    if options.memory_limit_mib is None:
        return
    limit = options.memory_limit_mib * 2**20
    needed = found.weight_bytes(options.dtype) + tokens * footprint.token_bytes(found, options.dtype)
    if needed > limit:
        raise DoesNotFit(device="memory_limit_mib", needed_bytes=needed, free_bytes=limit)
