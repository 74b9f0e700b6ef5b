"""Traces and metrics of a running router, as a real collector receives them; and what is lost where there is none."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.weights import PATHS, make

from .collector import Sink, attributes, collector
from .conftest import Serve
from .served import Served

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "the-otter-in-the-cellar-knows-it"
ASK: dict[str, Any] = {
    "model": "tiny", "messages": [{"role": "user", "content": f"Tell me of {SECRET}."}], "max_tokens": 4,
    "temperature": 0, "user": SECRET,
}  # fmt: skip


def config(telemetry: str, placement: str = "") -> str:
    placement = placement or f'{{ backend = "llamacpp", source = "{PATHS["tiny-gguf"]()}" }}'
    return f"""
[server]
port = 0

[telemetry]
{telemetry}

[models.tiny]
context_tokens = 512
placements = [{placement}]
"""


def ask(served: Served, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return httpx.post(
        f"{served.url}/v1/chat/completions", json={**ASK, **fields}, headers=headers or {}, trust_env=False, timeout=60
    )


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    try:
        yield sink
    finally:
        sink.close()


@pytest.fixture
def collected(sink: Sink, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The URLs of a running collector, whose output goes to the sink, by their protocols."""
    yield from collector(tmp_path, sink.url)


def by_id(spans: list[Span]) -> dict[bytes, Span]:
    return {span.span_id: span for span in spans}


@pytest.mark.engine
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_gets_one_trace_through_two_routers(
    serve: Serve, sink: Sink, collected: dict[str, str], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("tiny-gguf")
    for name, value in {
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_SERVICE_NAME": "house",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collected[protocol],
    }.items():
        monkeypatch.setenv(name, value)
    inner = serve(config("traces = true"))
    outer = serve(config("traces = true\nmetrics = true", f'{{ backend = "upstream", source = "{inner.url}" }}'))
    answer = ask(outer, {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "other=1"}, stream=True)
    assert answer.status_code == 200

    def traced() -> list[Span]:
        """What is of this trace: the outer router's own look at what stands behind its URL begins another."""
        return [span for span in sink.spans() if span.trace_id.hex() == TRACE]

    sink.wait_for(lambda: len(traced()) >= 6 and "gen_ai.client.token.usage" in sink.metrics_by_name())
    spans = by_id(traced())
    assert {span.trace_state for span in spans.values()} == {"other=1"}

    # client -> outer: server, lease, chat -> inner: server, lease, chat
    way: list[Span] = []
    parent = bytes.fromhex(PARENT)
    while found := [span for span in spans.values() if span.parent_span_id == parent and span.name != "queue"]:
        (span,) = found
        way.append(span)
        parent = span.span_id
    assert [span.name for span in way] == ["POST /v1/chat/completions", "lease tiny", "chat tiny"] * 2
    assert [span.kind for span in way] == [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT] * 2
    for outside, inside in pairwise(way):
        assert outside.start_time_unix_nano <= inside.start_time_unix_nano <= inside.end_time_unix_nano
    server, _, chat = (attributes(span.attributes) for span in way[:3])
    assert (server["http.response.status_code"], server["http.route"]) == (200, "/v1/chat/completions")
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.provider.name"] == "upstream"
    assert attributes(way[5].attributes)["gen_ai.provider.name"] == "llamacpp"
    assert chat["gen_ai.request.model"] == "tiny"
    assert chat["gen_ai.usage.output_tokens"] == 4
    assert chat["gen_ai.response.finish_reasons"] == ["length"]
    assert [event.name for event in way[2].events] == ["first token"]
    assert {attributes(one.resource_spans[0].resource.attributes)["service.name"] for one in sink.traces} == {"house"}

    metrics = sink.metrics_by_name()
    assert set(metrics) == {
        "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token",
        "gen_ai.client.operation.duration", "gen_ai.client.token.usage",
    }  # fmt: skip
    told = {
        attributes(point.attributes)["gen_ai.token.type"]: point.sum
        for point in metrics["gen_ai.client.token.usage"].histogram.data_points
    }
    assert told["output"] == 4
    assert told["input"] == chat["gen_ai.usage.input_tokens"]
    assert SECRET.encode() not in sink.raw


@pytest.mark.engine
def test_what_is_refused_fails_or_is_not_sampled_is_told_so(
    serve: Serve, sink: Sink, collected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("tiny-gguf")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    served = serve(config(f'traces = true\nendpoint = "{collected["http/protobuf"]}"'))
    assert ask(served, {"traceparent": f"00-{TRACE}-{PARENT}-00"}).status_code == 200  # its sender tells of nothing
    assert ask(served, temperature=9).status_code == 400
    assert ask(served, model="nobody").status_code == 404
    sink.wait_for(lambda: len(sink.spans()) >= 2)
    assert served.end() == 0
    spans = {attributes(span.attributes)["http.response.status_code"]: span for span in sink.spans()}
    assert set(spans) == {400, 404}
    assert spans[404].trace_id.hex() != TRACE
    assert attributes(spans[404].attributes)["enginehouse.error.code"] == "model_not_found"
    assert not spans[400].status.code  # the client's own fault


@pytest.mark.engine
def test_a_collector_that_is_away_costs_traces_and_nothing_else(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    make("tiny-gguf")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    with socket.socket() as stuck:  # takes connections, and never answers
        stuck.bind(("127.0.0.1", 0))
        stuck.listen()
        served = serve(config(f'traces = true\nendpoint = "http://127.0.0.1:{stuck.getsockname()[1]}"'))
        for _ in range(8):
            assert ask(served).status_code == 200
        metrics = httpx.get(f"{served.url}/metrics", trust_env=False).text
        (lost,) = [line.split()[1] for line in metrics.splitlines() if line.startswith("enginehouse_traces_lost_total")]
        assert int(lost) >= 5
        assert served.end() == 0
    assert served.wait_for_log("traces lost")["requests"] == 8


def test_nothing_of_opentelemetry_is_imported_where_it_is_off() -> None:
    code = (
        "import sys, asyncio\n"
        "from enginehouse.assembly import build\n"
        "from enginehouse.config import default_config\n"
        "from enginehouse.plugins import Plugins\n"
        "async def main():\n"
        "    build(default_config(), Plugins(), devices=())\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])\n"
    )  # httpx2 has a look at the names of conventions, where they are installed
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr


DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/enginehouse.json"


@pytest.mark.engine
def test_every_metric_of_the_dashboard_is_there(server: Served) -> None:
    told = httpx.get(f"{server.url}/metrics", trust_env=False).text
    kinds = dict(line.split()[2:4] for line in told.splitlines() if line.startswith("# TYPE"))
    known = {name for name, kind in kinds.items() if kind != "histogram"}
    known |= {
        f"{name}_{part}" for name, kind in kinds.items() if kind == "histogram" for part in ("bucket", "sum", "count")
    }
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["query"]["query"] for variable in dashboard["templating"]["list"]]
    asked = {name for query in queries for name in re.findall(r"\benginehouse_\w+", query)}
    assert len(asked) > 15
    assert asked - known == set()
    labels = {
        name
        for query in queries
        for group in re.findall(r"\{([^}]*)\}", query)
        for name in re.findall(r"(\w+)=", group)
    }
    assert labels <= {"model", "status", "kind", "state", "instance", "backend"}
