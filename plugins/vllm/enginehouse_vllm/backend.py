"""The backend: what vLLM needs, whether it fits, and how it is loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from enginehouse_kit.generation_config import recommended_in
from enginehouse_kit.process.child import Child, LogLine
from enginehouse_kit.process.instance import ProcessInstance
from enginehouse_kit.text.templates import check_template
from enginehouse_plugin import Backend, Capabilities, Device, Fit, LoadProgress, OnProgress, Placement, ProbeReport
from enginehouse_plugin.errors import DoesNotFit, EngineError, EngineMissing, LoadFailed, SourceNotFound

from . import checkpoint as checkpoints
from . import environment, families, start, vocabulary
from .checkpoint import WIDTHS, Checkpoint, NotACheckpoint
from .environment import Installed
from .instance import SleepableVllmInstance, VllmInstance
from .loading import reason_of, stage_of
from .model import describe
from .options import VllmOptions
from .server import Server
from .texts import EmbeddingInstance, VllmTexts, rerank_instance

_log = logging.getLogger(__name__)
_engine_log = logging.getLogger("enginehouse.engine.vllm")
_LEVELS = {"error": logging.WARNING, "warning": logging.INFO, "info": logging.DEBUG}

_GPU_OVERHEAD_BYTES = 2 * 2**30  # CUDA context, kernels and captured graphs of one process
_CPU_OVERHEAD_BYTES = int(1.6 * 2**30)  # three Python processes with torch
_DEFAULT_BATCH_TOKENS = 2048
_STOP_GRACE_S = 2.0
_MAX_WORDS = 20
_POLL_S = 0.25
_NEEDS = "vLLM needs a folder with config.json and *.safetensors, as model hubs have them."


class VllmBackend(Backend):
    """vLLM's own server as a managed child, in an environment of its own."""

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Look for vLLM in the environment of *python*; without it, in the variable's, this one and the PATH's."""
        try:
            installed = await environment.find(python)
        except EngineMissing as error:
            return ProbeReport(available=False, engine="vLLM", detail=error.message, fix=error.fix)
        detail = f"{installed.python}, torch {installed.torch}"
        if installed.doubt:
            detail = f"{detail}; {installed.doubt}"
        return ProbeReport(available=True, engine="vLLM", engine_version=installed.vllm, detail=detail)

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        """Estimate from the headers of the weights: weights, KV cache, one step's buffers.

        Several GPUs share weights evenly, and the cache by heads. Without `cache_gib` vLLM fills each with cache up to
        `memory_share` of its memory; the least it starts with holds one sequence at full length.
        """
        options = _options(placement)
        checkpoint = await asyncio.to_thread(_read, placement)
        on_gpu = start.is_on_gpu(devices)
        dtype = checkpoint.dtype(options.dtype, on_gpu)
        weights = checkpoint.loaded_bytes(dtype)
        width = 1 if options.cache_type.startswith("fp8") else WIDTHS[dtype]
        batch = options.batch_tokens or _DEFAULT_BATCH_TOKENS
        work = batch * (checkpoint.hidden_size * 16 + (checkpoint.vocabulary_size or 0) // 64) * WIDTHS[dtype]
        if not on_gpu:
            cache = (options.cache_gib or start.CPU_CACHE_GIB) * 2**30
            total = weights + cache + work + _CPU_OVERHEAD_BYTES
            return Fit(footprint_bytes={device.id: total for device in devices[:1]})
        gpus = [device for device in devices if device.kind == "cuda"]
        gpus = gpus[: options.tensor_parallel or len(gpus)]
        least = weights // len(gpus) + work + _GPU_OVERHEAD_BYTES
        if options.cache_gib is not None:
            return Fit(footprint_bytes={device.id: least + options.cache_gib * 2**30 for device in gpus})
        least += start.context_tokens(placement, checkpoint) * checkpoint.cache_bytes_per_token(width, len(gpus))
        share = options.memory_share or start.MEMORY_SHARE
        return Fit(footprint_bytes={device.id: max(least, int(share * device.memory_bytes)) for device in gpus})

    async def recommended(self, placement: Placement) -> Mapping[str, Any]:  # Any: see `Backend`
        """See `Backend.recommended`: `generation_config.json`."""
        return recommended_in(Path(placement.path or placement.source))

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> ProcessInstance:
        """Start vLLM and wait until it answers.

        Raises:
            SourceNotFound: no folder with weights at the placement's path.
            EngineMissing, LoadFailed, DoesNotFit: see the errors.
        """
        options = _options(placement)
        checkpoint = await asyncio.to_thread(_read, placement)
        if start.task_of(placement, checkpoint) != "chat":
            return await self._load_for_texts(placement, devices, options, checkpoint, progress)
        template = start.template_text(options, checkpoint)
        if template is None:
            raise LoadFailed(
                f"The model at '{placement.path}' has no chat template. Name one with chat_template_file.",
                retryable=False,
                code="no_chat_template",
            )
        own = options.chat_template_file or ("the option chat_template" if options.chat_template else None)
        await asyncio.to_thread(check_template, template, own or "the weights")
        pieces = await _vocabulary(placement, checkpoint)
        progress(LoadProgress(stage="looking for vLLM", fraction=0.0))
        installed = await environment.find(placement.python)
        if installed.doubt:
            _log.warning("%s: %s", placement.model, installed.doubt)
        checkpoint = msgspec.structs.replace(checkpoint, template=template)
        parsers = families.choose(checkpoint, options.tool_parser, options.reasoning_parser)
        model = describe(
            checkpoint,
            template,
            parsers,
            pieces,
            context_tokens=start.context_tokens(placement, checkpoint),
            sequences=start.max_sequences(options, start.is_on_gpu(devices)),
            prefix_cache=options.prefix_cache,
        )
        launch = start.launch(placement, devices, options, checkpoint, installed, parsers)
        child, server = await self._start(placement, devices, options, installed, launch, progress)
        instance = (SleepableVllmInstance if options.sleep else VllmInstance)(child, server, model)
        progress(LoadProgress(stage="warming up", fraction=0.97))
        try:
            async with asyncio.timeout(options.load_timeout_s):
                await instance.warm_up()
        except (EngineError, TimeoutError) as error:
            await child.stop(_STOP_GRACE_S)
            told = "vLLM did not answer its first request."
            raise LoadFailed(f"{told} {error}".rstrip(), last_words=child.last_words) from error
        except BaseException:
            await child.stop(_STOP_GRACE_S)
            raise
        progress(LoadProgress(stage="ready", fraction=1.0))
        return instance

    async def _load_for_texts(
        self,
        placement: Placement,
        devices: tuple[Device, ...],
        options: VllmOptions,
        checkpoint: Checkpoint,
        progress: OnProgress,
    ) -> VllmTexts:
        start.pooling(placement, options, checkpoint)
        pieces = await _vocabulary(placement, checkpoint)
        progress(LoadProgress(stage="looking for vLLM", fraction=0.0))
        installed = await environment.find(placement.python)
        launch = start.launch(placement, devices, options, checkpoint, installed, families.Parsers())
        child, server = await self._start(placement, devices, options, installed, launch, progress)
        task = start.task_of(placement, checkpoint)
        capabilities = Capabilities(
            context_tokens=start.context_tokens(placement, checkpoint),
            max_concurrent_requests=start.max_sequences(options, start.is_on_gpu(devices)),
            tasks=frozenset({task}),
            vocabulary_size=checkpoint.vocabulary_size or len(pieces),
        )
        try:
            if task == "rerank":
                return await rerank_instance(child, server, capabilities, pieces)
            (probe,) = (await server.embed(["a"])).data
        except BaseException:
            await child.stop(_STOP_GRACE_S)
            raise
        dimensions = (len(probe.embedding) // 4, *placement.dimensions)
        progress(LoadProgress(stage="ready", fraction=1.0))
        capabilities = msgspec.structs.replace(capabilities, dimensions=dimensions)
        return EmbeddingInstance(child, server, capabilities, pieces)

    async def _start(
        self,
        placement: Placement,
        devices: tuple[Device, ...],
        options: VllmOptions,
        installed: Installed,
        launch: start.Launch,
        progress: OnProgress,
    ) -> tuple[Child, Server]:
        words: list[str] = []  # of errors: the last lines alone are often only what follows from the cause
        farthest = 0.0
        child: Child | None = None

        def watch(line: LogLine) -> None:
            nonlocal farthest
            is_news = child is None or not child.is_stopping
            level = _LEVELS.get(line.level, logging.DEBUG) if is_news else logging.DEBUG
            _engine_log.log(level, "%s: %s", placement.model, line.text)
            if len(words) < _MAX_WORDS and reason_of([line.text]) is not None:
                words.append(line.text)
            stage = stage_of(line.text)
            if stage is not None and stage.fraction is not None and stage.fraction >= farthest:
                farthest = stage.fraction
                progress(stage)

        child = await Child.start(
            f"vllm {placement.model}", launch.argv, env=launch.env, socket_name="engine.sock", on_log=watch
        )
        server = Server(child.socket_path, placement.model)
        try:
            await child.wait_ready(server.is_healthy, timeout_s=options.load_timeout_s, poll_s=_POLL_S)
        except EngineError as error:
            await child.stop(_STOP_GRACE_S)
            raise LoadFailed(f"vLLM did not finish loading: {error.message}", last_words=child.last_words) from error
        except LoadFailed as error:
            await child.stop(_STOP_GRACE_S)
            raise await self._explained(error, [*words, *error.last_words], placement, devices, installed) from error
        except BaseException:
            await child.stop(_STOP_GRACE_S)
            raise
        return child, server

    async def _explained(
        self,
        error: LoadFailed,
        words: Sequence[str],
        placement: Placement,
        devices: tuple[Device, ...],
        installed: Installed,
    ) -> LoadFailed | DoesNotFit:
        """Tell apart why the engine gave up, from its *words*: those that name a cause, and its last."""
        reason = reason_of(words)
        if reason is None:
            return error
        footprint = (await self.fit(placement, devices)).footprint_bytes
        for device in devices:
            free = device.free_bytes if device.free_bytes is not None else device.memory_bytes
            if reason.is_memory and footprint.get(device.id, 0) > free:
                return DoesNotFit(device=device.id, needed_bytes=footprint[device.id], free_bytes=free)
        return LoadFailed(
            f"vLLM {installed.vllm} did not load '{placement.source}'. {reason.message}",
            last_words=tuple(dict.fromkeys(words)),
            retryable=reason.may_pass,
            code=reason.code,
        )


def _options(placement: Placement) -> VllmOptions:
    return placement.options if placement.options is not None else VllmOptions()


async def _vocabulary(placement: Placement, checkpoint: Checkpoint) -> vocabulary.Vocabulary:
    """The bytes of each token.

    Raises:
        LoadFailed: the tokenizer has another form.
    """
    try:
        return await asyncio.to_thread(vocabulary.read, checkpoint.tokenizer or {})
    except NotACheckpoint as error:
        message = f"vLLM cannot load '{placement.path}': {error}."
        raise LoadFailed(message, retryable=False, code="bad_tokenizer") from error


def _read(placement: Placement) -> Checkpoint:
    """Read what the folder tells.

    Raises:
        SourceNotFound: there is no folder.
        LoadFailed: it holds no model that vLLM reads.
    """
    if placement.path is None:
        raise SourceNotFound(placement.source, fix=_NEEDS)
    try:
        return checkpoints.read(placement.path)
    except NotACheckpoint as error:
        if not Path(placement.path).is_dir():
            raise SourceNotFound(placement.source, fix=_NEEDS) from error
        message = f"vLLM cannot load '{placement.path}': {error}."
        raise LoadFailed(message, retryable=False, code="bad_weights") from error
