"""The tutorial's Markov chain, hosted in three ways outside the router's own process."""

from enginehouse_markov import Options

import enginehouse_plugin as eh
from enginehouse_kit.worker.backend import WorkerBackend

from .child import ChildBackend
from .remote import RemoteBackend, RemoteOptions

enginehouse_api = "2.0"


@eh.hookimpl
def enginehouse_backends() -> list[eh.BackendType]:
    return [
        eh.BackendType(
            name="markov-worker",
            version="1.0.0",
            create=lambda: WorkerBackend("enginehouse_markov:MarkovBackend"),
            options=Options,
        ),
        eh.BackendType(name="markov-child", version="1.0.0", create=ChildBackend, options=Options),
        eh.BackendType(
            name="markov-remote",
            version="1.0.0",
            create=RemoteBackend,
            options=RemoteOptions,
            kinds=(),
            needs_weights=False,
        ),
    ]
