"""Run llama.cpp's own server from the package xllamacpp, until a signal ends it.

    python embedded.py '{"socket": "/…/engine.sock", "model": "/…/model.gguf", …}'

Started by path, in whatever interpreter has xllamacpp: imports nothing else that is not Python's own.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from typing import Any


def parameters(xllamacpp: Any, wanted: dict[str, Any]) -> Any:  # Any: the package ships no types
    """Fill a `CommonParams` from *wanted*, the JSON that `start.embedded_settings` writes."""
    params = xllamacpp.CommonParams()
    params.model.path = wanted["model"]
    params.hostnames = [wanted["socket"]]
    params.n_parallel = wanted["slots"]
    params.n_ctx = wanted["context_tokens"] * wanted["slots"]
    params.n_batch = wanted["batch_tokens"]
    params.n_ubatch = wanted["micro_batch_tokens"]
    params.n_gpu_layers = wanted["gpu_layers"]
    params.n_threads_http = wanted["http_threads"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = wanted["threads"]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{wanted['flash']}")
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{wanted['cache_type_k'].upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{wanted['cache_type_v'].upper()}")
    params.cache_ram_mib = wanted["cache_ram_mib"]
    if not wanted["memory_map"]:
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    if wanted["chat_template"] is not None:
        params.chat_template = wanted["chat_template"]
    if wanted["pooling"] is not None:
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{wanted['pooling'].upper()}")
    # Each slot has the whole context_tokens. Where texts are pooled there is one cache for all, as large as those
    # together: with several, a step takes as many tokens of each text, and of longer ones the rest alone is pooled
    # (build 11549).
    params.kv_unified = wanted["pooling"] is not None
    params.fit_params = False  # a context that does not fit must fail, not shrink
    params.ctx_shift = False
    params.prefill_assistant = False
    params.use_jinja = True
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.ui = False
    params.offline = True
    return params


def main() -> None:
    """Serve until a signal ends the process: its memory goes back with it, and nothing waits for streams."""
    try:
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        sys.exit(f"xllamacpp cannot be imported by {sys.executable}: {error}")
    wanted = json.loads(sys.argv[1])
    if wanted["gpu_layers"] and all(device["type"].name.endswith("_CPU") for device in xllamacpp.get_device_info()):
        sys.exit(f"no usable GPU found: xllamacpp {xllamacpp.__version__} was built without support for one")
    server = xllamacpp.Server(parameters(xllamacpp, wanted))
    print(f"listening on {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
