"""The routes under `/admin` that steer a running router, and have it explain itself."""

from __future__ import annotations

import asyncio

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import KeyRing
from enginehouse.config import ConfigError
from enginehouse.dialects import steering as bodies
from enginehouse.dialects.refusals import NotFound
from enginehouse.fleet import Fleet, Foreseen, HostedInstance, explain_request, foresee_load
from enginehouse.live import Live
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import InvalidRequest

from .decoding import decoded
from .guard import AdminGuard, AnyRequest, json_response
from .mounted import Mounted

log = get_logger()


def steering_routes(live: Live, fleet: Fleet, keys: KeyRing, mounted: Mounted) -> list[HTTPRouteHandler]:
    """Return the handlers. A request to explain is one of chat, as *mounted* has it.

    An order is begun and answered with how its instances are then; it goes on by itself.
    """
    guards = [AdminGuard(keys, lambda: live.config.server)]
    orders = _Orders()

    @route("/admin/reload", http_method=[HttpMethod.POST], guards=guards)
    async def reload(request: AnyRequest) -> Response[bytes]:
        asked = await decoded(request, bodies.decode_reload)
        try:
            changes = await live.reload(is_trial=asked.dry_run)
        except ConfigError as error:
            raise bodies.InvalidConfiguration(str(error), where=error.where) from error
        return json_response(bodies.encode(bodies.reloaded(changes, is_applied=not asked.dry_run)))

    @route("/admin/instances", http_method=[HttpMethod.GET], guards=guards, sync_to_thread=False)
    def instances() -> Response[bytes]:
        return json_response(bodies.encode(bodies.shown_instances(fleet.snapshot())))

    @route("/admin/instances/{order:str}", http_method=[HttpMethod.POST], guards=guards)
    async def order(request: AnyRequest) -> Response[bytes]:
        name = str(request.path_params["order"])
        if name not in orders.known:
            raise NotFound(request.scope["path"])
        asked = await decoded(request, bodies.decode_order)
        found = fleet.named(model=asked.model, instance=asked.instance)
        if asked.dry_run:
            foreseen = {hosted.id: await orders.foresee(name, hosted) for hosted in found}
            return json_response(bodies.encode(bodies.shown_instances(fleet.snapshot(), list(foreseen), foreseen)))
        for hosted in found:
            log.info("order", order=name, instance=hosted.id)
            orders.give(name, hosted, asked)
        await asyncio.sleep(0)  # what it begins shows
        return json_response(bodies.encode(bodies.shown_instances(fleet.snapshot(), [hosted.id for hosted in found])))

    @route("/admin/explain", http_method=[HttpMethod.POST], guards=guards)
    async def explain(request: AnyRequest) -> Response[bytes]:
        if mounted.chat is None:
            raise InvalidRequest(
                "No profile that is served has the endpoint 'chat', whose requests are explained.", param=None
            )
        decode = mounted.chat[1].decode
        call = await decoded(request, lambda body: decode(body, "explained", {}))
        found = explain_request(call.request, fleet.model(call.model), is_lenient=call.is_lenient)
        return json_response(bodies.encode(bodies.explained(found, call)))

    @route("/admin/probe", http_method=[HttpMethod.POST], guards=guards)
    async def probe(request: AnyRequest) -> Response[bytes]:
        asked, _ = await decoded(request, bodies.decode_probe)
        (hosted,) = fleet.named(instance=asked.instance)
        return json_response(bodies.encode(bodies.shown_probe(hosted.id, await hosted.probe(asked.prompt))))

    return [reload, instances, order, explain, probe]


class _Orders:
    """Gives orders to instances; those that take their time are tasks."""

    known = ("load", "unload", "pin", "drain")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def foresee(self, name: str, hosted: HostedInstance) -> Foreseen:
        """What an order would come to now."""
        if name == "load":
            return await foresee_load(hosted)
        running, waiting = hosted.gate.running, hosted.gate.waiting
        if name == "pin":
            return Foreseen(fits=True, reason="nothing that needs its memory takes it")
        told = f"{running} {'runs' if running == 1 else 'run'}, and may end first" if running else "nothing runs there"
        if name == "drain" and waiting:
            told += f"; {waiting} {'waits' if waiting == 1 else 'wait'}, and go elsewhere or are refused"
        return Foreseen(fits=True, reason=told)

    def give(self, name: str, hosted: HostedInstance, asked: bodies.Order) -> None:
        """Have *hosted* do what is ordered."""
        if name == "load":
            hosted.load()
        elif name == "pin":
            hosted.pin(asked.pinned)
        else:
            work = hosted.unload(asked.timeout_s) if name == "unload" else hosted.drain(asked.timeout_s)
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
