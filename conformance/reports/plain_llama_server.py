"""Serve a GGUF file with llama.cpp's own HTTP server, as the package xllamacpp brings it: no part of Enginehouse.

    python conformance/reports/plain_llama_server.py MODEL.gguf --alias smollm2-135m --port 8081

The same as `llama-server -m MODEL.gguf --alias ALIAS --port PORT --parallel 4 --ctx-size 32768 --no-kv-unified`:
four slots with 8192 tokens of context each; everything else is the server's default.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
from typing import Any

SLOTS = 4
CONTEXT_TOKENS = 8192


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description="llama.cpp's own server on loopback.")
    parser.add_argument("model", help="path of the GGUF file")
    parser.add_argument("--alias", required=True, help="the model id")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    # Threads that spin while they wait make the engine 5 to 50 times slower where anything else uses the processors.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    xllamacpp: Any = importlib.import_module("xllamacpp")  # Any: the package ships no types
    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.model_alias = {given.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = given.port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT_TOKENS
    server = xllamacpp.Server(params)
    print(f"xllamacpp {xllamacpp.__version__} listening on {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
