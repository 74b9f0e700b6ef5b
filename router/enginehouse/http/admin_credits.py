"""The routes under `/admin` for credit and usage; each works in a thread, beside the event loop."""

from __future__ import annotations

import time

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import totals
from enginehouse.accounts.credit_desk import CreditDesk, Standing
from enginehouse.config import Config
from enginehouse.dialects import admin_credits as bodies
from enginehouse.telemetry import get_logger

from .admin import apart
from .decoding import decoded
from .guard import AdminGuard, AnyRequest, json_response

log = get_logger()


def credit_routes(config: Config, guard: AdminGuard) -> list[HTTPRouteHandler]:
    """Return the handlers of these routes: routers learn within about a second of what is changed."""
    desk = CreditDesk(config)
    guards = [guard]

    def changed(event: str, standing: Standing) -> Response[bytes]:
        log.info(event, key=standing.key, balance=standing.balance)
        return json_response(bodies.encode(standing))

    @route("/admin/credits", http_method=[HttpMethod.GET], guards=guards)
    async def list_credits() -> Response[bytes]:
        return json_response(bodies.encode(bodies.Standings(await apart(desk.all_keys))))

    @route("/admin/credits/grant", http_method=[HttpMethod.POST], guards=guards)
    async def grant(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_grant)
        found = await apart(lambda: desk.grant(wanted.key, wanted.amount, reference=wanted.reference))
        return changed("credit granted", found)

    @route("/admin/credits/withdraw", http_method=[HttpMethod.POST], guards=guards)
    async def withdraw(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_grant)
        found = await apart(lambda: desk.withdraw(wanted.key, wanted.amount, reference=wanted.reference))
        return changed("credit withdrawn", found)

    @route("/admin/credits/budget", http_method=[HttpMethod.POST], guards=guards)
    async def bound(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_budget)
        return changed("budget set", await apart(lambda: desk.bound(wanted.key, wanted.monthly)))

    @route("/admin/credits/history", http_method=[HttpMethod.GET], guards=guards)
    async def history(request: AnyRequest) -> Response[bytes]:
        key, last = bodies.asked_history(list(request.query_params.multi_items()))
        found = await apart(lambda: desk.history(key, last=last))
        return json_response(bodies.encode(bodies.History(found)))

    @route("/admin/credits/audit", http_method=[HttpMethod.GET], guards=guards)
    async def audit() -> Response[bytes]:
        return json_response(bodies.encode(await apart(desk.audit)))

    @route("/admin/usage", http_method=[HttpMethod.GET], guards=guards)
    async def usage(request: AnyRequest) -> Response[bytes]:
        by, days = bodies.asked_usage(list(request.query_params.multi_items()))
        since = 0.0 if days is None else time.time() - days * 86_400
        found = await apart(lambda: totals(config, since=since, by=by or ("key", "model")))
        return json_response(bodies.encode(bodies.Usage(found)))

    return [list_credits, grant, withdraw, bound, history, audit, usage]
