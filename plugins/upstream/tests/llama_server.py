"""llama.cpp's own server on loopback, as `llama-server` is: python llama_server.py WEIGHTS CONTEXT SLOTS."""

import signal
import sys

import xllamacpp


def main() -> None:
    weights, context_tokens, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = context_tokens * slots
    params.kv_unified = False
    params.fit_params = params.ui = False
    params.use_jinja = True
    params.endpoint_metrics = params.endpoint_slots = True
    params.n_batch = params.n_ubatch = 60  # from 64 on its attention rounds otherwise
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    signal.pause()


main()
