"""`enginehouse serve`."""

from __future__ import annotations

import sys

import click
import msgspec

from enginehouse.cli.shared.progress import showing
from enginehouse.cli.shared.setup import Setup, config_option, set_up
from enginehouse.config import Config, refuse_open_listener
from enginehouse.fleet import InstancePlan, NotFetched, fetch_weights, find_weights
from enginehouse.telemetry import configure_logging
from enginehouse_plugin.errors import LoadError

_EPILOG = """\b
Examples:
  enginehouse serve
  enginehouse serve --config enginehouse.toml --log-format json
  enginehouse serve --host 0.0.0.0 --config with-keys.toml
"""


@click.command(epilog=_EPILOG)
@config_option
@click.option("--host", help="Address to listen on; beyond loopback keys are needed.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), help="Form of the logs.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least level of the logs.")
def command(
    config_file: str | None, host: str | None, port: int | None, log_format: str | None, log_level: str | None
) -> None:
    """Serve the models of a configuration; without one, the embedded model on 127.0.0.1:8000.

    Options here win over the configuration.
    """
    setup = set_up(config_file, is_weighed=False)  # each instance is weighed when it loads
    config = _override(setup.config, host=host, port=port, log_format=log_format, log_level=log_level)
    refuse_open_listener(config)
    if sys.stderr.isatty():
        _fetch_with_bar(setup)  # elsewhere the log tells of it, and the server is up meanwhile
    configure_logging(config.log.format, config.log.level)
    from enginehouse.assembly import serve

    serve(config, setup.plugins)


def _override(
    config: Config, *, host: str | None, port: int | None, log_format: str | None, log_level: str | None
) -> Config:
    server = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    log = {name: value for name, value in (("format", log_format), ("level", log_level)) if value is not None}
    return msgspec.structs.replace(
        config,
        server=msgspec.structs.replace(config.server, **server),
        log=msgspec.structs.replace(config.log, **log),
    )


def _fetch_with_bar(setup: Setup) -> None:
    for name, model in setup.config.models.items():
        planned = setup.instance(name)
        if planned is None or model.load != "start":
            continue
        try:
            _fetch(name, planned)
        except LoadError as error:  # the other models are served; its instance says the same, or tries again
            click.echo(f"{name}: {error.message}", err=True)


def _fetch(name: str, planned: InstancePlan) -> None:
    try:
        find_weights(planned.backend, planned.placement.source)
    except NotFetched:
        with showing(name) as progress:
            fetch_weights(planned.backend, planned.placement.source, progress)
