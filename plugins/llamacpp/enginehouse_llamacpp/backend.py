"""The backend: what llama.cpp needs, whether it fits, and how it is loaded."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from enginehouse_kit.process.child import Child, LogLine
from enginehouse_kit.process.instance import ProcessInstance
from enginehouse_kit.process.interpreters import versions_in
from enginehouse_kit.text.templates import check_template
from enginehouse_plugin import Backend, Device, Fit, LoadProgress, OnProgress, Placement, ProbeReport
from enginehouse_plugin.errors import ENGINE_WITHOUT_GPU, DoesNotFit, EngineError, LoadFailed, SourceNotFound

from . import devices, gguf, start, step
from .instance import LlamaCppInstance
from .model import Model, describe
from .options import LlamaCppOptions
from .server import Server
from .texts import LlamaCppTexts, text_instance

_Found = TypeVar("_Found")
_engine_log = logging.getLogger("enginehouse.engine.llamacpp")
_LEVELS = {"error": logging.WARNING}  # what it calls a warning is noise, most of it one line for each request

# Lines of the engine's log that tell how far it is.
_STAGES = (
    (re.compile(r"loading model '"), LoadProgress(stage="loading weights", fraction=0.1)),
    (re.compile(r"threadpool init|warming up"), LoadProgress(stage="warming up", fraction=0.8)),
    (re.compile(r"model loaded"), LoadProgress(stage="starting server", fraction=0.95)),
)
_BAD_WEIGHTS = re.compile(r"error loading model: (.+)")
_BAD_TEMPLATE = re.compile(r"chat template.*?(?:error|failed|invalid)[:\s]*(.*)", re.IGNORECASE)
_NO_GPU = re.compile(r"no usable GPU found")
_OUT_OF_MEMORY = re.compile(r"out of memory|failed to allocate|cannot allocate|unable to allocate", re.IGNORECASE)


class LlamaCppBackend(Backend):
    """llama.cpp, embedded through xllamacpp or as a llama-server program."""

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Look for xllamacpp in this interpreter and for llama-server on the PATH; or for xllamacpp in *python*.

        What it was built for is told by the devices that it sees.
        """
        if python is not None:
            version = (await versions_in(python, ("xllamacpp",)) or {}).get("xllamacpp")
            if version is None:
                return ProbeReport(
                    available=False,
                    engine="llama.cpp",
                    detail=f"'{python}' is no interpreter, or has no xllamacpp",
                    fix=f"{python} -m pip install xllamacpp",
                )
            return await _found(f"xllamacpp {version}", python, python)
        version = start.embedded_version()
        if version is not None:
            return await _found(f"xllamacpp {version}")
        binary = shutil.which("llama-server")
        if binary is not None:
            return await _found(await start.binary_version(binary) or None, binary)
        return ProbeReport(
            available=False, engine="llama.cpp", detail="neither xllamacpp nor llama-server is here", fix=start.FIX
        )

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        """Estimate from the header of the file: weights, KV cache of all slots, one step's buffers.

        Layers that stay on the processor are counted there; several GPUs share the rest evenly.
        """
        options = _options(placement)
        model = await asyncio.to_thread(_read, placement)  # a vocabulary is long
        tokens = options.slots * start.context_tokens(placement, model)
        gpus = [device for device in devices if device.kind != "cpu"]
        batch = start.micro_batch_tokens(options, bool(gpus))
        if start.task_of(placement, model) != "chat":
            batch = start.context_tokens(placement, model)
        cache = model.cache_bytes(tokens, options.cache_type_k, options.cache_type_v)
        total = model.weight_bytes + cache + model.work_bytes(batch, options.slots)
        layers = model.number("block_count") + 1
        share = 1.0 if options.gpu_layers is None else min(options.gpu_layers / layers, 1.0)
        if not gpus or share == 0.0:
            return Fit(footprint_bytes={device.id: total for device in devices[:1]})
        footprint = {device.id: int(total * share / len(gpus)) for device in gpus}
        if share < 1.0:
            footprint["cpu"] = int(total * (1.0 - share))
        return Fit(footprint_bytes=footprint)

    async def recommended(self, placement: Placement) -> Mapping[str, Any]:  # Any: see `Backend`
        """See `Backend.recommended`: the sampling keys of the file."""
        return (await asyncio.to_thread(_read, placement)).sampling

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> ProcessInstance:
        """Start the engine, wait until it answers, and ask it what it has loaded.

        Raises:
            SourceNotFound: no GGUF file at the placement's path.
            EngineMissing, LoadFailed, DoesNotFit: see the errors.
        """
        options = _options(placement)
        model = await asyncio.to_thread(_read, placement)  # a vocabulary is long
        if start.pooling(placement, options, model) is not None:
            return await self._load_for_texts(placement, devices, options, model, progress)
        template, of = start.template(options, model)
        if template is not None:
            await asyncio.to_thread(check_template, template, of)
        path, on_gpu = str(placement.path), start.is_on_gpu(devices)
        tokens = step.given(options, on_gpu) or step.known(path, options)

        async def described_by(_: Child, server: Server) -> Model:
            return await describe(server, model, start.context_tokens(placement, model), options)

        launched = (placement, devices, options, model)
        child, server, described = await self._begin(*launched, tokens or step.TRIED, progress, described_by)
        if tokens is None:
            progress(LoadProgress(stage="measuring", fraction=0.97))
            try:
                tokens = await step.measured(path, options, server, model, described.context_tokens)
            except BaseException:
                await child.stop()
                raise
            if not step.is_near(tokens, step.TRIED):
                await child.stop()
                child, server, described = await self._begin(*launched, tokens, progress, described_by)
        progress(LoadProgress(stage="ready", fraction=1.0))
        return LlamaCppInstance(child, server, described)

    async def _load_for_texts(
        self,
        placement: Placement,
        devices: tuple[Device, ...],
        options: LlamaCppOptions,
        model: gguf.Gguf,
        progress: OnProgress,
    ) -> LlamaCppTexts:
        async def made(child: Child, server: Server) -> LlamaCppTexts:
            return await text_instance(child, server, model, placement, options)

        _, _, instance = await self._begin(placement, devices, options, model, step.TRIED, progress, made)
        progress(LoadProgress(stage="ready", fraction=1.0))
        return instance

    async def _begin(
        self,
        placement: Placement,
        devices: tuple[Device, ...],
        options: LlamaCppOptions,
        model: gguf.Gguf,
        step_tokens: int,
        progress: OnProgress,
        asked: Callable[[Child, Server], Awaitable[_Found]],
    ) -> tuple[Child, Server, _Found]:
        """Start the engine with steps of *step_tokens*, wait until it has loaded *model*, and ask it something."""
        launch = start.launch(placement, devices, options, model, step_tokens)
        lacks_gpu = False

        def watch(line: LogLine) -> None:
            nonlocal lacks_gpu
            lacks_gpu |= _NO_GPU.search(line.text) is not None
            _engine_log.log(_LEVELS.get(line.level, logging.DEBUG), "%s: %s", placement.model, line.text)
            for pattern, stage in _STAGES:
                if pattern.search(line.text):
                    progress(stage)

        progress(LoadProgress(stage="starting engine", fraction=0.0))
        child = await Child.start(
            f"llamacpp {placement.model}", launch.argv, env=launch.env, socket_name="engine.sock", on_log=watch
        )
        server = Server(child.socket_path)
        try:
            await child.wait_ready(server.is_healthy, timeout_s=options.load_timeout_s)
            if lacks_gpu:  # a llama-server program goes on without one; the placement asked for it
                raise LoadFailed("llama.cpp found no GPU.", last_words=child.last_words)
            found = await asked(child, server)
        except EngineError as error:
            await child.stop()
            raise LoadFailed(
                f"llama.cpp did not finish loading: {error.message}", last_words=child.last_words
            ) from error
        except LoadFailed as error:
            await child.stop()
            raise await self._explained(error, placement, devices) from error
        except BaseException:
            await child.stop()
            raise
        return child, server, found

    async def _explained(
        self, error: LoadFailed, placement: Placement, devices: tuple[Device, ...]
    ) -> LoadFailed | DoesNotFit:
        """Tell apart why the engine gave up, from its last words."""
        words = "\n".join(error.last_words)
        if _OUT_OF_MEMORY.search(words) and devices:
            footprint = (await self.fit(placement, devices)).footprint_bytes
            device = devices[0]
            return DoesNotFit(
                device=device.id, needed_bytes=footprint.get(device.id, 0), free_bytes=device.free_bytes or 0
            )
        if _NO_GPU.search(words):
            return LoadFailed(
                "This build of llama.cpp has no support for the GPU of this placement. Install one that has "
                "(for CUDA, xllamacpp's own package index or a llama-server program), or set gpu_layers = 0.",
                last_words=error.last_words,
                retryable=False,
                code=ENGINE_WITHOUT_GPU,
            )
        if "unknown model architecture" in words:
            return LoadFailed(
                "This build of llama.cpp does not know the model's architecture; a newer one may.",
                last_words=error.last_words,
                retryable=False,
                code="unknown_architecture",
            )
        if bad_template := _BAD_TEMPLATE.search(words):
            return LoadFailed(
                f"llama.cpp cannot use the model's chat template: {bad_template.group(1)}.",
                last_words=error.last_words,
                retryable=False,
                code="bad_template",
            )
        if bad_weights := _BAD_WEIGHTS.search(words):
            return LoadFailed(
                f"llama.cpp cannot load '{placement.path}': {bad_weights.group(1)}.",
                last_words=error.last_words,
                retryable=False,
                code="bad_weights",
            )
        return error


async def _found(version: str | None, detail: str = "", python: str | None = None) -> ProbeReport:
    found = await asyncio.to_thread(devices.usable, python)
    return ProbeReport(available=True, engine="llama.cpp", engine_version=version, detail=detail, devices=found)


def _options(placement: Placement) -> LlamaCppOptions:
    return placement.options if placement.options is not None else LlamaCppOptions()


def _read(placement: Placement) -> gguf.Gguf:
    """Read the model's header.

    Raises:
        SourceNotFound: there is no file.
        LoadFailed: the file is no GGUF file.
    """
    if placement.path is None or not Path(placement.path).is_file():
        raise SourceNotFound(placement.source, fix="llama.cpp needs a GGUF file.")
    try:
        return gguf.read(placement.path)
    except gguf.NotGguf as error:
        raise LoadFailed(
            f"'{placement.path}' is not a GGUF file: {error}.", retryable=False, code="bad_weights"
        ) from error
