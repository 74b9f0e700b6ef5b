"""What is exported: the configuration's word, else that of the standard variables."""

from __future__ import annotations

import pytest

from enginehouse.telemetry import ExportSettings, TelemetryError
from enginehouse.telemetry.traces import Sampling


def read(
    traces: bool | None = None,
    metrics: bool | None = None,
    endpoint: str | None = None,
    sample: float | None = None,
    **environment: str,
) -> ExportSettings:
    return ExportSettings.read(traces, metrics, endpoint, sample, environment)


def test_nothing_is_exported_unasked() -> None:
    assert not read().is_on
    assert not read(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318").is_on
    assert not read(OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="").is_on
    assert not read(OTEL_TRACES_SAMPLER="nonsense").is_on  # it concerns nobody


def test_the_variables_ask_where_the_configuration_is_silent() -> None:
    settings = read(OTEL_TRACES_EXPORTER="otlp")
    assert (settings.traces, settings.metrics, settings.passes_on) == (True, False, True)
    settings = read(metrics=True, traces=False, OTEL_TRACES_EXPORTER="otlp")
    assert (settings.traces, settings.metrics, settings.passes_on) == (False, True, False)
    assert not read(traces=True, metrics=True, OTEL_SDK_DISABLED="TRUE").is_on


@pytest.mark.parametrize(
    ("variables", "sampling"),
    [
        ({}, Sampling(1.0, follows_parent=True)),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Sampling(1.0, follows_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Sampling(0.0, follows_parent=False)),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"},
            Sampling(0.5, follows_parent=False),
        ),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, Sampling(1.0, follows_parent=True)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Sampling(0.0, follows_parent=True)),
        ({"OTEL_TRACES_SAMPLER_ARG": "nonsense"}, Sampling(1.0, follows_parent=True)),
    ],
)
def test_the_six_standard_samplers_are_there(variables: dict[str, str], sampling: Sampling) -> None:
    assert read(traces=True, **variables).sampling == sampling


def test_the_configuration_says_the_share_before_the_variables() -> None:
    assert read(traces=True, sample=0.1, OTEL_TRACES_SAMPLER="always_on").sampling == Sampling(0.1)


def test_propagation_can_be_switched_off() -> None:
    settings = read(traces=True, OTEL_PROPAGATORS="none")
    assert (settings.heeds_parent, settings.passes_on) == (False, False)
    settings = read(traces=True, OTEL_PROPAGATORS="tracecontext, baggage")
    assert (settings.heeds_parent, settings.passes_on) == (True, True)


def test_batches_are_bounded_as_said() -> None:
    settings = read(
        traces=True, OTEL_BSP_SCHEDULE_DELAY="250", OTEL_BSP_MAX_QUEUE_SIZE="64", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16"
    )
    assert (settings.delay_s, settings.queue_size, settings.batch_size) == (0.25, 64, 16)
    assert read(traces=True, OTEL_BSP_MAX_QUEUE_SIZE="64").batch_size == 64


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "'zipkin' is none of otlp and none."),
        ("OTEL_METRICS_EXPORTER", "prometheus", "'prometheus' is none of otlp and none."),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "'http/json' is none of http/protobuf and grpc."),
        ("OTEL_TRACES_SAMPLER", "often", "parentbased_always_off and parentbased_traceidratio."),
        ("OTEL_PROPAGATORS", "b3", "'b3' is none of tracecontext, baggage and none."),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "'0' is no whole number from 1 to 10000000."),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s", "'5s' is no whole number from 1 to 10000000."),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "'-1' is no whole number from 1 to 10000000."),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "It is no address of a collector."),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "It is no address of a collector."),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_with_what_is_allowed(name: str, value: str, told: str) -> None:
    asked = {"traces": None if name == "OTEL_TRACES_EXPORTER" else True, "metrics": None}
    with pytest.raises(TelemetryError) as refusal:
        ExportSettings.read(asked["traces"], asked["metrics"], None, None, {name: value})
    assert refusal.value.where == name
    assert told in refusal.value.problem
    assert refusal.value.fix


def test_shares_and_batches_that_cannot_be_are_refused() -> None:
    with pytest.raises(TelemetryError, match=r"OTEL_TRACES_SAMPLER_ARG: '1.5' is no share. Set a number from 0 to 1"):
        read(traces=True, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="1.5")
    with pytest.raises(
        TelemetryError, match="OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 512 is more than OTEL_BSP_MAX_QUEUE_SIZE"
    ):
        read(traces=True, OTEL_BSP_MAX_QUEUE_SIZE="8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="512")


def test_an_address_with_a_secret_is_not_repeated() -> None:
    with pytest.raises(TelemetryError) as refusal:
        read(traces=True, endpoint="ftp://me:secret@collector")
    assert refusal.value.where == "telemetry.endpoint"
    assert "secret" not in str(refusal.value)
