"""The routes under `/admin` by which the console shows what is proven, and has it proven."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Final

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.certificates import Certificates, RunNotPossible, Runs
from enginehouse.config import default_config
from enginehouse.dialects import proof as bodies
from enginehouse.fleet import Fleet
from enginehouse.http.decoding import decoded
from enginehouse.http.guard import AdminGuard, AnyRequest, json_response
from enginehouse.live import Live
from enginehouse.telemetry import get_logger

log = get_logger()

_KINDS: Final = {
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "svg": "image/svg+xml",
    "xml": "application/xml",
}


def runs_of(live: Live, fleet: Fleet) -> Runs:
    """The runs of a server: their reports lie beside the certificates, with which instances are compared afterwards."""
    certificates = Certificates.of(live.config)
    return Runs(live.config.file, certificates.folder.path / "reports", fleet.compare)


def proof_routes(live: Live, fleet: Fleet, guard: AdminGuard, runs: Runs) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    def problem() -> str | None:
        if importlib.util.find_spec("enginehouse_conformance") is None:
            return "The conformance suite is not installed: pip install 'enginehouse[certify]'."
        if live.config.file is None and live.config.models.keys() != default_config().models.keys():
            return "Models that were named on the command line have no file that a run could read."
        return None

    @route("/admin/certificates", http_method=[HttpMethod.GET], guards=[guard])
    async def certificates() -> Response[bytes]:
        folder = Certificates.of(live.config).folder
        (found, unreadable), reports = await asyncio.gather(
            asyncio.to_thread(folder.read), asyncio.to_thread(runs.reports)
        )
        snapshot = fleet.snapshot()
        told = bodies.ShownProof(
            certificates=[bodies.shown_certificate(one, snapshot) for one in found],
            unreadable={one.name: one.problem for one in unreadable},
            reports=reports,
            run=runs.last,
            problem=problem(),
        )
        return json_response(bodies.encode(told))

    @route("/admin/certify", http_method=[HttpMethod.GET], guards=[guard], sync_to_thread=False)
    def run() -> Response[bytes]:
        return json_response(bodies.encode(runs.last))

    @route("/admin/certify", http_method=[HttpMethod.POST], guards=[guard])
    async def certify(request: AnyRequest) -> Response[bytes]:
        wanted = await decoded(request, bodies.decode_wanted)
        if (why := problem()) is not None:
            raise RunNotPossible(why)
        for hosted in fleet.model(wanted.model).instances:
            needed = hosted.planned.footprint_bytes
            if hosted.planned.host is None and needed and not fleet.keeper.has_room("", needed):
                raise RunNotPossible(
                    f"The model is loaded a second time for the run, and there is no room for that beside what is "
                    f"loaded: unload something first, such as {hosted.id}."
                )
        log.info("order", order="certify", model=wanted.model)
        return json_response(bodies.encode(await runs.start(wanted.model, quick=wanted.quick)))

    @route("/admin/certify/stop", http_method=[HttpMethod.POST], guards=[guard], sync_to_thread=False)
    def stop() -> Response[bytes]:
        runs.stop()
        return json_response(bodies.encode(runs.last))

    @route("/admin/reports/{name:str}/{file:str}", http_method=[HttpMethod.GET], guards=[guard], sync_to_thread=True)
    def report(request: AnyRequest) -> Response[bytes]:
        name, file = (str(request.path_params[part]) for part in ("name", "file"))
        data = runs.file(name, file)
        # A page of the suite is a file to keep here, not one to open beside the console.
        headers = {
            "content-type": _KINDS[file.rpartition(".")[2]],
            "content-disposition": f'attachment; filename="{file}"',
            "x-content-type-options": "nosniff",
        }
        return Response(data, headers=headers, media_type=headers["content-type"])

    return [certificates, run, certify, stop, report]
