"""`enginehouse explain`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from enginehouse.cli.shared.admin import admin_client
from enginehouse.cli.shared.client import key_option, url_option
from enginehouse.cli.shared.defaults import DefaultRow, defaults_in
from enginehouse.cli.shared.devices_file import read_devices
from enginehouse.cli.shared.output import print_json
from enginehouse.cli.shared.placements import PlacementRow, placements_of
from enginehouse.cli.shared.setup import Setup, config_option, json_option, set_up
from enginehouse.cli.shared.standings import StandingRow, standings

_EPILOG = """\b
Examples:
  enginehouse explain
  enginehouse explain smollm2-135m
  enginehouse explain smollm2-135m --config house.toml --devices gpu-server.json
  enginehouse explain request.json --url http://box:8000

\b
Exit code 1 if MODEL has no place on the host.
"""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A model's placements, and what a request gets where it is silent.

    `short` says why it has fewer instances than are asked for. `certificate` is None where it has no place, or where
    another host is asked about.
    """

    model: str
    placements: list[PlacementRow]
    short: str | None = None
    defaults: list[DefaultRow] = []
    certificate: StandingRow | None = None

    @property
    def has_place(self) -> bool:
        """Whether one of the placements is chosen."""
        return any(row.is_chosen for row in self.placements)


@click.command(epilog=_EPILOG)
@click.argument("model", metavar="[MODEL|REQUEST.json]", required=False)
@config_option
@url_option
@key_option
@click.option(
    "--devices",
    "devices_file",
    metavar="FILE",
    help="Explain for the host that has these devices: what 'enginehouse doctor --json' printed there.",
)
@json_option
def command(
    model: str | None,
    config_file: str | None,
    url: str | None,
    key: str | None,
    devices_file: str | None,
    as_json: bool,
) -> None:
    """Say where MODEL (without one: every model) is placed, and why each other placement is not used.

    For this host, what is proven of the model is told as well. Of a file with the body of a chat request, the server at
    URL, or the one that serves FILE, says which instance would get it now, and what the others are to it.
    """
    if model is not None and model.endswith(".json"):
        _explain_request(Path(model), config_file, url, key, as_json=as_json)
        return
    setup = set_up(config_file, devices=read_devices(devices_file) if devices_file else None)
    if setup.config.cluster is not None and not devices_file:
        click.echo("The file is for a cluster: this is what this machine alone would do with it.", err=True)
    found = _explained(setup, list(setup.plans) if model is None else [model], has_certificates=not devices_file)
    if as_json:
        print_json({"devices": setup.devices, "memory": setup.budgets, "models": found})
    else:
        devices = ", ".join(f"{device.id} ({device.name})" for device in setup.devices) or "none"
        click.echo(f"Devices of {devices_file or 'this host'}: {devices}")
        for budget in setup.budgets:
            click.echo(f"  {budget.in_words}")
        for explanation in found:
            _show(explanation)
    host = f"the host of {devices_file}" if devices_file else "this host"
    if model is not None and not found[0].has_place:
        raise click.ClickException(f"'{model}' has no place on {host}.")


def _explain_request(file: Path, config_file: str | None, url: str | None, key: str | None, *, as_json: bool) -> None:
    try:
        body = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise click.UsageError(f"{file} holds no request: {error}.") from None
    with admin_client(config_file, url, key) as client:
        told = client.ask("POST", "/admin/explain", body)
    if as_json:
        print_json(told)
        return
    goes = f"goes to {told['instance']}" if told["instance"] else f"goes nowhere: {told['refusal']}"
    click.echo(f"The request to {told['model']} {goes}")
    for one in told["considered"]:
        click.echo(f"  {one['instance']}: {'could' if one['could'] else 'could not'}: {one['reason']}")


def _explained(setup: Setup, models: Sequence[str], *, has_certificates: bool) -> list[Explanation]:
    rows = {model: placements_of(setup, model) for model in models}
    certified = standings(setup, models) if has_certificates else {}
    return [
        Explanation(
            model=model,
            placements=placements,
            short=setup.plan(model).short,
            defaults=defaults_in(setup, model),
            certificate=certified.get(model),
        )
        for model, placements in rows.items()
    ]


def _show(explanation: Explanation) -> None:
    click.echo(f"\n{explanation.model}" + ("" if explanation.has_place else ": no place"))
    are_several = sum(row.is_chosen for row in explanation.placements) > 1
    for row in explanation.placements:
        verdict = (f"chosen as {row.instance}" if are_several else "chosen") if row.is_chosen else "not used"
        click.echo(f"  {row.index}. {row.backend} with {row.source}: {verdict}: {row.reason}")
    if explanation.short:
        click.echo(f"  {explanation.short}")
    click.echo(f"  Defaults: {', '.join(default.words for default in explanation.defaults)}")
    if explanation.certificate is not None:
        for line in _certificate_lines(explanation.certificate, explanation.model):
            click.echo(f"  {line}")


def _certificate_lines(standing: StandingRow, model: str) -> list[str]:
    trusted = (
        "all declared features may be used" if standing.trust == "declared" else "only proven features may be used"
    )
    lines = [f'Trust: "{standing.trust}": {trusted}']
    if standing.certified_at is None:
        return [*lines, f"Certificate: {standing.reason}; 'enginehouse certify {model}' makes one"]
    rules = "all rules" if standing.selection == "all" else "the quick core"
    lines.append(f"Certificate: {standing.state}, of {standing.certified_at}, {rules} of suite {standing.suite}")
    if standing.reason:
        lines.append(f"  {standing.reason}")
    return lines + [f"  {feature}: {words}" for feature, words in sorted(standing.features.items())]
