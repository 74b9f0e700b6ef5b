"""The backend inside a worker: what `enginehouse_kit.worker.guest` hosts."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from enginehouse_mlx import footprint, weights
from enginehouse_mlx.backend import FIX, options_of, pooling_of
from enginehouse_plugin import Backend, Device, Instance, LoadProgress, OnProgress, Placement, ProbeReport
from enginehouse_plugin.errors import EngineMissing


class MlxWorker(Backend):
    """Loads one model on a thread of its own."""

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Say that it is there: the router asks packages, not workers."""
        del python
        return ProbeReport(available=True, engine="MLX")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Load *placement*.

        Raises:
            LoadError: it could not be made; the error says why.
        """
        progress(LoadProgress(stage="importing MLX", fraction=0.0))
        for name in ("mlx", "mlx_lm", "llguidance"):
            if importlib.util.find_spec(name) is None:
                raise EngineMissing("MLX", fix=FIX)
        from .instance import MlxInstance
        from .loading import load
        from .owner import Owner
        from .settings import Settings

        options = options_of(placement)
        pooling = pooling_of(placement, options)
        found = weights.read(placement)
        is_processor = not any(device.kind == "apple" for device in devices)
        limit = options.memory_limit_mib
        settings = Settings(
            slots=options.slots,
            context_tokens=footprint.context_tokens(placement, found),
            batch_tokens=footprint.batch_tokens(options, is_processor),
            token_bytes=footprint.token_bytes(found, options.dtype),
            prefix_cache_bytes=options.prefix_cache_mib * 2**20 if options.prefix_cache else 0,
            memory_limit_bytes=None if limit is None else limit * 2**20,
        )

        def tell(news: LoadProgress) -> None:
            if not owner.loaded.done():  # nobody is told of it when it wakes
                progress(news)

        loading = functools.partial(load, Path(found.path), options, devices, settings.memory_limit_bytes, tell)
        owner = Owner(loading, settings)
        owner.start()
        model = await owner.loaded
        instance = MlxInstance(owner, model, settings)
        if pooling is not None:
            from .texts import MlxTexts, vector

            try:
                probe = await owner.apart(functools.partial(vector, ids=[0], pooling=pooling))
            except BaseException:
                await instance.unload()
                raise
            dimensions = (len(probe) // 4, *placement.dimensions)
            instance = MlxTexts(owner, model, settings, pooling, dimensions)
        progress(LoadProgress(stage="ready", fraction=1.0))
        return instance
