"""`enginehouse compare`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from enginehouse.cli.shared.admin import admin_client
from enginehouse.cli.shared.client import DEFAULT_URL, key_option, url_option
from enginehouse.cli.shared.output import print_json
from enginehouse.cli.shared.setup import config_option, json_option, read_config

_EPILOG = """\b
Examples:
  enginehouse compare smollm2-135m#0 smollm2-135m#1 --config house.toml
  enginehouse compare smollm2-135m @mac --within weights
  enginehouse compare smollm2-135m https://api.example.com/v1 --key-env-b API_KEY
  enginehouse compare before.json smollm2-135m --within arithmetic --html compared.html

\b
Exit codes: 0 compared, and within the band asked for, 1 farther apart,
2 could not be compared or wrong usage, 130 interrupted.
"""
_BANDS = ("arithmetic", "weights", "near", "any")


@click.command(epilog=_EPILOG)
@click.argument("a")
@click.argument("b")
@config_option
@url_option
@key_option
@click.option("--model", help="Model ID to ask A for, where it is a URL or a host; else what the other side names.")
@click.option("--model-b", help="The same for B; else A's.")
@click.option("--key-env", metavar="NAME", help="Environment variable with the API key of A, where it is a URL.")
@click.option("--key-env-b", metavar="NAME", help="The same for B. No key is ever sent to the other side.")
@click.option("--probes", type=click.IntRange(4, 1000), default=24, show_default=True,
              help="Prompts to ask, each for one token.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the prompts; a fresh one unless given.")
@click.option("--within", type=click.Choice(_BANDS), default="any", show_default=True,
              help="Exit with 1 where they are farther apart than this band.")  # fmt: skip
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="File for a page with a plot.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    a: str,
    b: str,
    config_file: str | None,
    url: str | None,
    key: str | None,
    model: str | None,
    model_b: str | None,
    key_env: str | None,
    key_env_b: str | None,
    probes: int,
    seed: int | None,
    within: str,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Say how far A and B are from serving the same model the same way.

    Each of them is a model of the running server, one of its instances (model#0, or model@host), the same model at
    another host (@host), the URL of any API (the part before /chat/completions), or a stored fingerprint (a file).
    Both are asked for the same single tokens with their log probabilities; D is how far these are apart on average.
    Instances are asked by the routes under /admin, which want a key with admin = true or the server's socket.
    """
    if importlib.util.find_spec("enginehouse_conformance") is None:
        raise click.ClickException(
            "The conformance suite is not installed. Install it with: pip install 'enginehouse[certify]'"
        )
    from enginehouse.cli.shared.comparing import Named, NotCompared, compared, is_within
    from enginehouse_conformance import UrlTarget, comparison_page, comparison_text

    server = UrlTarget(f"{_server_of(config_file, url)}/v1", model=model or "", key=key)
    with admin_client(config_file, url, key) as client:
        sides = Named(a, model, key_env), Named(b, model_b or model, key_env_b)
        found = compared(*sides, client, server, seed=seed, probes=probes)
    if html_file is not None:
        try:
            html_file.write_bytes(comparison_page(found).encode("utf-8", "replace"))
        except OSError as error:
            raise NotCompared(f"--html: {html_file}: {error.strerror}") from error
    if as_json:
        print_json(found)
    else:
        click.echo(comparison_text(found))
    ctx.exit(0 if is_within(found, within) else 1)


def _server_of(config_file: str | None, url: str | None) -> str:
    """Where the running server answers."""
    if url or not config_file:
        return (url or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    server = read_config(config_file).server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::", "") else server.host  # noqa: S104  # what it listens on
    return f"{'https' if server.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{server.port}"
