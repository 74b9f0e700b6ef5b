"""The chart, rendered by Helm's own library, as the objects that a cluster would get."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/enginehouse"
VALUES = {"default": None, **{path.stem: path for path in sorted((ROOT / "deploy/helm/values").glob("*.yaml"))}}
VALUES.pop("prometheus-adapter")  # of another chart
NEEDED = "needs what `make deploy-tools` installs"
RELEASE, NAMESPACE, NAME = "house", "ml", "house-enginehouse"

Object = dict[str, Any]  # an object of Kubernetes, as its YAML says


class Rendered(list[Object]):
    """Objects of one rendering."""

    def of(self, kind: str) -> list[Object]:
        """Those of *kind*."""
        return [one for one in self if one["kind"] == kind]

    def one(self, kind: str, name: str = NAME) -> Object:
        """The one of *kind* that is called *name*."""
        (found,) = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        return found

    @property
    def pods(self) -> dict[str, Object]:
        """What pods are made of, by the names of what makes them."""
        kinds = ("Deployment", "StatefulSet", "Job")
        return {one["metadata"]["name"]: one["spec"]["template"] for one in self if one["kind"] in kinds}

    def files(self) -> dict[str, str]:
        """The configuration files, by the names of their ConfigMaps."""
        return {one["metadata"]["name"]: one["data"]["enginehouse.toml"] for one in self.of("ConfigMap")}

    def fleet_key(self) -> str:
        """The key that was made for the fleet."""
        return base64.b64decode(self.one("Secret", f"{NAME}-fleet")["data"]["key"]).decode()


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def helm() -> Any:
    """Helm's library; its Python face has no types that mypy knows."""
    return pytest.importorskip("helm_python", reason=NEEDED)


@pytest.fixture(scope="session")
def values(helm: Any) -> Callable[[str], Mapping[str, Any]]:
    """The values of a file by its name, read as Helm reads them."""

    def read(name: str) -> Mapping[str, Any]:
        path = VALUES[name]
        return helm.values_from_yaml(path.read_text()) if path else {}

    return read


@pytest.fixture(scope="session")
def render(helm: Any, values: Callable[[str], Mapping[str, Any]]) -> Render:
    """Render the chart with the values of the file *name*, and those of *over* above them."""
    yaml = pytest.importorskip("yaml", reason=NEEDED)

    def rendered(name: str = "default", over: Mapping[str, Any] | None = None) -> Rendered:
        with helm.Chart.load(CHART) as chart:
            given = _merged(values(name), over or {})
            chart.validate_schema(given)
            texts = chart.render(given, name=RELEASE, namespace=NAMESPACE)
        objects = Rendered()
        for path, text in texts.items():
            if path.endswith(".yaml"):
                objects += [one for one in yaml.safe_load_all(text) if one]
        return objects

    return rendered


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        known = both.get(key)
        both[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both
