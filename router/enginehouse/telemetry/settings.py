"""What is exported by OTLP, and how: the configuration's word, else that of the standard `OTEL_*` variables.

Variables that say where to and how (`OTEL_EXPORTER_OTLP_*`), and as what (`OTEL_SERVICE_NAME`,
`OTEL_RESOURCE_ATTRIBUTES`), are read by OpenTelemetry's own exporters; here stands what this router decides by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from .traces import Sampling

PROTOCOLS: Final = ("http/protobuf", "grpc")
_EXPORTERS: Final = ("otlp", "none")
_SAMPLERS: Final = {
    "always_on": (1.0, False),
    "always_off": (0.0, False),
    "traceidratio": (None, False),
    "parentbased_always_on": (1.0, True),
    "parentbased_always_off": (0.0, True),
    "parentbased_traceidratio": (None, True),
}
"""The share of each, None where its argument says it, and whether it follows the parent."""


class TelemetryError(Exception):
    """What is asked for cannot be: `where` is the key or variable, `problem` what is wrong, `fix` the way out."""

    def __init__(self, where: str, problem: str, fix: str) -> None:
        super().__init__(f"{where}: {problem} {fix}")
        self.where = where
        self.problem = problem
        self.fix = fix


class ExportSettings(msgspec.Struct, frozen=True):
    """What is exported. `endpoint` is the collector's base URL (None: as OpenTelemetry finds it), `protocol` its wire.

    At most `queue_size` requests wait to be told of, and are told every `delay_s` seconds, or when there are
    `batch_size` of them.
    """

    traces: bool
    metrics: bool
    endpoint: str | None = None
    protocol: str = "http/protobuf"
    sampling: Sampling = Sampling()
    heeds_parent: bool = True
    passes_on: bool = True
    delay_s: float = 5.0
    queue_size: int = 2048
    batch_size: int = 512

    @property
    def is_on(self) -> bool:
        """Whether anything is exported."""
        return self.traces or self.metrics

    @classmethod
    def read(
        cls,
        traces: bool | None,
        metrics: bool | None,
        endpoint: str | None,
        sample: float | None,
        environment: Mapping[str, str],
    ) -> ExportSettings:
        """The settings that the configuration says, and where it is silent (None) the variables of *environment*.

        Raises:
            TelemetryError: naming the key or variable, and what is allowed.
        """
        said = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_")}
        if said.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return cls(traces=False, metrics=False)
        has_traces = _exports(said, "OTEL_TRACES_EXPORTER") if traces is None else traces
        has_metrics = _exports(said, "OTEL_METRICS_EXPORTER") if metrics is None else metrics
        if not (has_traces or has_metrics):
            return cls(traces=False, metrics=False)
        propagators = _propagators(said)
        queue_size = _number(said, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        batch_size = _number(said, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(512, queue_size))
        if batch_size > queue_size:
            raise TelemetryError(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                f"{batch_size} is more than OTEL_BSP_MAX_QUEUE_SIZE, {queue_size}.",
                "Make the batch smaller, or the queue larger.",
            )
        for name in ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"):
            _number(said, name, 1)
        return cls(
            traces=has_traces,
            metrics=has_metrics,
            endpoint=_endpoint(said, endpoint),
            protocol=_protocol(said),
            sampling=Sampling(sample) if sample is not None else _sampling(said),
            heeds_parent="tracecontext" in propagators,
            passes_on=has_traces and "tracecontext" in propagators,
            delay_s=_number(said, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
            queue_size=queue_size,
            batch_size=batch_size,
        )


def _exports(said: Mapping[str, str], name: str) -> bool:
    """Whether the variable asks for OTLP. Unset it does not, as it would elsewhere: nothing is sent unasked."""
    value = said.get(name, "") or "none"
    if value not in _EXPORTERS:
        raise TelemetryError(name, f"'{value}' is none of {_listed(_EXPORTERS)}.", "Set one of these, or leave it out.")
    return value == "otlp"


def _propagators(said: Mapping[str, str]) -> tuple[str, ...]:
    value = said.get("OTEL_PROPAGATORS", "") or "tracecontext"
    names = tuple(name.strip() for name in value.split(","))
    allowed = ("tracecontext", "baggage", "none")
    for name in names:
        if name not in allowed:
            raise TelemetryError(
                "OTEL_PROPAGATORS", f"'{name}' is none of {_listed(allowed)}.", "Set some of these, or leave it out."
            )
    return () if "none" in names else names


def _protocol(said: Mapping[str, str]) -> str:
    value = said.get("OTEL_EXPORTER_OTLP_PROTOCOL", "") or "http/protobuf"
    if value not in PROTOCOLS:
        raise TelemetryError(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            f"'{value}' is none of {_listed(PROTOCOLS)}.",
            "Set one of these, or leave it out.",
        )
    return value


def _endpoint(said: Mapping[str, str], endpoint: str | None) -> str | None:
    names = [name for name in said if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT")]
    for where, url in [("telemetry.endpoint", endpoint), *((name, said[name]) for name in names)]:
        if not url:
            continue
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            raise TelemetryError(
                where,
                "It is no address of a collector.",  # which may hold a secret, and is not repeated
                "Write http:// or https://, its name and its port, such as http://127.0.0.1:4318.",
            )
    return endpoint


def _sampling(said: Mapping[str, str]) -> Sampling:
    value = said.get("OTEL_TRACES_SAMPLER", "") or "parentbased_always_on"
    if value not in _SAMPLERS:
        raise TelemetryError(
            "OTEL_TRACES_SAMPLER", f"'{value}' is none of {_listed(_SAMPLERS)}.", "Set one of these, or leave it out."
        )
    share, follows_parent = _SAMPLERS[value]
    if share is None:
        text = said.get("OTEL_TRACES_SAMPLER_ARG", "") or "1.0"
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise TelemetryError(
                "OTEL_TRACES_SAMPLER_ARG", f"'{text}' is no share.", "Set a number from 0 to 1, such as 0.1."
            )
    return Sampling(share, follows_parent)


def _number(said: Mapping[str, str], name: str, default: int) -> int:
    text = said.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10**7:
        raise TelemetryError(name, f"'{text[:40]}' is no whole number from 1 to 10000000.", "Set one, or leave it out.")
    return int(text)


def _listed(names: Mapping[str, object] | tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}"
