"""`enginehouse serve`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from enginehouse.cli.shared.named import Named, as_toml, check_named, named_options
from enginehouse.cli.shared.progress import showing
from enginehouse.cli.shared.setup import Setup, config_option, read_checked, set_up
from enginehouse.config import Config, refuse_open_listener
from enginehouse.fleet import InstancePlan, NotFetched, disk_of, fetch_weights, find_weights
from enginehouse.telemetry import configure_logging
from enginehouse.weights import Disk
from enginehouse_plugin.errors import LoadError

_EPILOG = """\b
Examples:
  enginehouse serve
  enginehouse serve weights/model.gguf --context 8192
  enginehouse serve ./SmolLM2-1.7B-Instruct hub:ORG/REPO-GGUF:Q4_K_M --name big --name small
  enginehouse serve model.gguf --set slots=2 --print-config > house.toml
  enginehouse serve --config house.toml --log-format json
"""


@click.command(epilog=_EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@config_option
@named_options
@click.option("--print-config", is_flag=True, help="Print the configuration that MODELs stand for, and serve nothing.")
@click.option("--host", help="Address to listen on; beyond loopback keys are needed.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), help="Form of the logs.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least level of the logs.")
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[str, ...],
    config_file: str | None,
    names: tuple[str, ...],
    context: int | None,
    backend: str | None,
    device: str | None,
    settings: tuple[str, ...],
    print_config: bool,
    host: str | None,
    port: int | None,
    log_format: str | None,
    log_level: str | None,
) -> None:
    """Serve MODELs, or the models of a configuration; without either, the embedded model on 127.0.0.1:8000.

    MODEL is a GGUF file, a folder with safetensors, hub:ORG/REPO[@REVISION][:QUANT] or demo:NAME. Options here win over
    the configuration.
    """
    named = Named(models=models, names=names, context=context, backend=backend, device=device, settings=settings)
    check_named(ctx, named)
    # Each instance is weighed when it loads.
    setup = set_up(config_file, named=named if models else None, is_weighed=False)
    server = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    log = {name: value for name, value in (("format", log_format), ("level", log_level)) if value is not None}
    config = _override(setup.config, server, log)
    refuse_open_listener(config)
    if print_config:
        if not models:
            raise click.UsageError("--print-config goes with MODEL: a configuration that is a file stands there.")
        click.echo(as_toml(config, setup.plugins.backends, server, log), nl=False)
        return
    if sys.stderr.isatty():
        from enginehouse.http.server import listen

        listen(config.server.host, config.server.port).close()  # a port that is taken is told before a download
        if config.cluster is None:  # else nodes fetch what they need
            _fetch_with_bar(setup)  # elsewhere the log tells of it, and the server is up meanwhile
    configure_logging(config.log.format, config.log.level)
    from enginehouse.assembly import serve

    def read() -> Config:
        again = _override(read_checked(config_file, setup.plugins), server, log)
        refuse_open_listener(again)
        return again

    serve(config, setup.plugins, read if config_file and not models else None)


def _override(config: Config, server: Mapping[str, Any], log: Mapping[str, Any]) -> Config:
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
            _fetch(name, planned, disk_of(setup.config))
        except LoadError as error:  # the other models are served; its instance says the same, or tries again
            click.echo(f"{name}: {error.message}", err=True)


def _fetch(name: str, planned: InstancePlan, disk: Disk) -> None:
    try:
        find_weights(planned.backend, planned.placement.source)
    except NotFetched:
        with showing(name) as progress:
            fetch_weights(planned.backend, planned.placement.source, progress, disk)
