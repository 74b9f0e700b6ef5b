"""`enginehouse certify`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from enginehouse.certificates import Certificate, Certificates
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.progress import showing
from enginehouse.cli.shared.setup import config_option, json_option, read_config, set_up
from enginehouse.fleet import InstancePlan, NotFetched, fetch_weights, find_weights
from enginehouse_plugin import Placement

_EPILOG = """\b
Examples:
  enginehouse certify smollm2-135m
  enginehouse certify smollm2-135m --quick --config enginehouse.toml

\b
Exit codes: 0 every declared feature that the suite tests is proven, 1 something failed or
there is no result, 2 wrong usage or configuration, 130 interrupted.
"""


@click.command(epilog=_EPILOG)
@click.argument("model")
@config_option
@click.option("--quick", is_flag=True, help="Run the suite's quick core: about a minute, and less is proven.")
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the suite's reports: JSON, JUnit, Markdown, HTML, badge.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, model: str, config_file: str | None, quick: bool, folder: Path | None, as_json: bool
) -> None:
    """Prove what MODEL's instance on this host honours, and store the certificate.

    The model is loaded as 'enginehouse serve' would load it, beside a server that runs, and the conformance suite
    is run on it. A server compares its instances with certificates when it loads them.
    """
    if importlib.util.find_spec("enginehouse_conformance") is None:
        raise click.ClickException(
            "The conformance suite is not installed. Install it with: pip install 'enginehouse[certify]'"
        )
    config = read_config(config_file)
    certificates = Certificates.of(config)
    certificates.folder.prepare()
    from enginehouse.certificates.answers import encode_fingerprint
    from enginehouse.cli.shared import certification

    planned, placement = _planned(config_file, model)
    has_fingerprint = config.fingerprint_in(config.models[model]) != "off"
    try:
        certificate, fingerprint = certification.certify(
            planned, placement, certificates, quick=quick, has_fingerprint=has_fingerprint, folder=folder
        )
    except KeyboardInterrupt:
        click.echo("Interrupted: nothing is stored.", err=True)
        raise
    if as_json:
        print_json(certificate)
    else:
        _show(certificate)
    click.echo(_store(certificate, certificates), err=True)
    if fingerprint is not None:
        file = certificates.folder.save_fingerprint(certificate, encode_fingerprint(fingerprint))
        click.echo(f"Fingerprint of {len(fingerprint.probes)} probes stored in {file}", err=True)
    ctx.exit(0 if certificate.is_clean else 1)


def _planned(config_file: str | None, model: str) -> tuple[InstancePlan, Placement]:
    """What `serve` would load, its weights fetched."""
    while True:
        planned = set_up(config_file).instance(model)
        if planned is None:
            raise click.ClickException(f"'{model}' has no place on this host; see 'enginehouse explain {model}'.")
        backend, source = planned.backend, planned.placement.source
        try:
            return planned, planned.for_backend(find_weights(backend, source))
        except NotFetched:
            with showing(model) as progress:
                fetch_weights(backend, source, progress)
        # Planned again: what was fetched only now may turn out not to fit.


def _show(certificate: Certificate) -> None:
    rows = [("(no feature needed)", certificate.general), *certificate.features.items()]
    print_table(
        ("FEATURE", "STATE", "PASSED", "FAILED", "INCONCLUSIVE"),
        (
            (name, proof.state, str(proof.passed), " ".join(proof.failed), " ".join(proof.inconclusive))
            for name, proof in rows
        ),
    )


def _store(certificate: Certificate, certificates: Certificates) -> str:
    """Store *certificate*, unless a fuller one is there that it does not gainsay; returns what was done."""
    if certificate.selection == "quick" and not certificate.has_failures:
        stored, _ = certificates.folder.read()
        if any(other.key == certificate.key and other.selection == "all" for other in stored):
            return "The certificate of the whole suite stays: the quick core does not gainsay it."
    return f"Stored in {certificates.folder.save(certificate)}"
