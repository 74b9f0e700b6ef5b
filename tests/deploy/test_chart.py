"""The chart says what a cluster takes, and each pod is as closed as it can be."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginehouse.telemetry.metrics import Metrics
from enginehouse_conformance.cli import cli

from .conftest import CHART, NAME, NEEDED, RELEASE, ROOT, VALUES, Object, Render, Rendered

OLDEST, NEWEST = "1.28", "1.37"
"""Of Kubernetes, of those whose schemas are published with the validator."""


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]


@pytest.fixture(params=list(VALUES))
def rendered(request: pytest.FixtureRequest, render: Render) -> Rendered:
    """The objects of each file of values in turn."""
    return render(request.param)


@pytest.mark.parametrize("name", list(VALUES))
def test_helm_finds_nothing_to_say_of_it(helm: Any, values: Callable[[str], Mapping[str, Any]], name: str) -> None:
    told = helm.lint(CHART, values(name), strict=True)
    of_weight = [message for message in told["messages"] if message["severity"] > 1]  # an icon would be information
    assert (of_weight, told["errors"]) == ([], [])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_of_the_published_schema(rendered: Rendered, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason=NEEDED)
    for one in rendered:
        if one["kind"] != "ServiceMonitor":  # no kind of Kubernetes itself
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the validator's own imports
                validator.validate(one, version, strict=True)


def test_the_schemas_find_what_is_wrong(render: Render) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason=NEEDED)
    one = render().one("Deployment", f"{NAME}-router")
    one["spec"]["template"]["spec"]["containers"][0]["securitycontext"] = {}
    with pytest.raises(validator.ValidationError):
        validator.validate(one, NEWEST, strict=True)


def test_the_service_monitor_is_of_its_own_schema(render: Render) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the models' own imports
        models = pytest.importorskip("cloudcoil.models.prometheus_operator.v1", reason=NEEDED)
    given = render("autoscaling").one("ServiceMonitor")
    known = models.ServiceMonitor.model_validate(given).model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert known["spec"] == given["spec"]  # it would drop what it does not know


def test_a_pod_has_nobodys_rights(rendered: Rendered) -> None:
    assert rendered.pods
    for name, pod in rendered.pods.items():
        of_pod = pod["spec"]["securityContext"]
        assert of_pod["runAsNonRoot"] is True, name
        assert of_pod["runAsUser"] == 10001, name
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert not [volume for volume in pod["spec"]["volumes"] if "hostPath" in volume], name
    for account in rendered.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_the_user_of_pods_is_that_of_the_images(render: Render) -> None:
    written = (ROOT / "deploy/containers/Containerfile").read_text()
    users = set(re.findall(r"^USER (\d+):\d+$", written, re.MULTILINE))
    assert users == {str(pod["spec"]["securityContext"]["runAsUser"]) for pod in render().pods.values()}


def test_servers_are_asked_for_their_health_and_have_time_to_drain(rendered: Rendered) -> None:
    for kind in ("Deployment", "StatefulSet"):
        for one in rendered.of(kind):
            (container,) = containers(one["spec"]["template"])
            for probe in ("startupProbe", "livenessProbe"):
                assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
            assert container["readinessProbe"]["httpGet"]["path"] in ("/health", "/ready")


@pytest.mark.parametrize(("drain_s", "grace_s"), [(30, 50), (90.5, 111)])
def test_a_pod_is_killed_behind_its_drain(render: Render, drain_s: float, grace_s: int) -> None:
    rendered = render(over={"config": {"server": {"drain_timeout_s": drain_s}}})
    for name in (f"{NAME}-router", f"{NAME}-cpu"):
        assert rendered.pods[name]["spec"]["terminationGracePeriodSeconds"] == grace_s


def test_selectors_find_the_pods_that_they_mean_and_no_others(rendered: Rendered) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in rendered.pods.items()}

    def found(selector: Mapping[str, str]) -> set[str]:
        return {name for name, own in labels.items() if selector.items() <= own.items()}

    engines = {one["metadata"]["name"] for one in rendered.of("StatefulSet")}
    for one in (*rendered.of("Deployment"), *rendered.of("StatefulSet")):
        assert found(one["spec"]["selector"]["matchLabels"]) == {one["metadata"]["name"]}
    for service in rendered.of("Service"):
        name = service["metadata"]["name"]
        assert found(service["spec"]["selector"]) == {f"{NAME}-router" if name == NAME else name}
    for budget in rendered.of("PodDisruptionBudget"):
        assert found(budget["spec"]["selector"]["matchLabels"]) == {budget["metadata"]["name"]}
    meant = {f"{NAME}-router": {f"{NAME}-router"}, f"{NAME}-engines": engines}
    for policy in rendered.of("NetworkPolicy"):
        name = policy["metadata"]["name"]
        assert found(policy["spec"]["podSelector"]["matchLabels"]) == meant.get(name, {name})


def test_engines_are_asked_by_the_router_alone(render: Render) -> None:
    policy = render().one("NetworkPolicy", f"{NAME}-engines")["spec"]
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "router"
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_the_router_may_reach_the_port_of_its_database(render: Render) -> None:
    url = "postgresql://enginehouse@db:6543/enginehouse"
    policy = render("postgresql", {"config": {"accounts": {"url": url}}}).one("NetworkPolicy", f"{NAME}-router")
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert 6543 in ports
    assert 5432 in [
        port["port"]
        for rule in render("postgresql").one("NetworkPolicy", f"{NAME}-router")["spec"]["egress"]
        for port in rule["ports"]
    ]


def test_secrets_come_from_secrets(render: Render) -> None:
    """No password and no key stands in an object that is not a Secret, nor in the configuration."""
    rendered = render("postgresql")
    assert rendered.of("Secret") == []  # all of them are there already
    (router,) = containers(rendered.pods[f"{NAME}-router"])
    env = {one["name"]: one.get("valueFrom", {}).get("secretKeyRef", {}).get("name") for one in router["env"]}
    assert env == {"FLEET_KEY": "house-fleet", "PGPASSWORD": "house-postgresql", "THEIR_KEY": "upstream"}
    made = render()
    assert made.fleet_key() not in str([one for one in made if one["kind"] != "Secret"])
    mounts = {one["mountPath"] for one in router["volumeMounts"]}
    assert "/etc/enginehouse/secrets/upstreams" in mounts


def test_engines_stand_on_their_nodes(render: Render) -> None:
    gpu, cpu = (
        render("gpu").one("StatefulSet", f"{NAME}-{name}")["spec"]["template"]["spec"] for name in ("gpu", "cpu")
    )
    assert gpu["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    (container,) = gpu["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"] == "enginehouse:0.1.0-cuda"
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert "nodeSelector" not in cpu
    assert cpu["containers"][0]["image"] == "enginehouse:0.1.0-cpu"


def test_metrics_that_are_asked_for_are_those_of_the_router(render: Render) -> None:
    """By the autoscaler, and by the adapter's rules that bring them to it."""
    yaml = pytest.importorskip("yaml", reason=NEEDED)
    there = set(re.findall(r"^# TYPE (enginehouse_\w+)", Metrics().render(()), re.MULTILINE))
    adapter = yaml.safe_load((ROOT / "deploy/helm/values/prometheus-adapter.yaml").read_text())["rules"]
    series = {rule["name"]["as"]: rule["seriesQuery"].partition("{")[0] for rules in adapter.values() for rule in rules}
    (scaler,) = render("autoscaling").of("HorizontalPodAutoscaler")
    asked = {metric[metric["type"].lower()]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    assert asked == {"enginehouse_queued_requests", "enginehouse_running_sequences"}
    assert asked == set(series)
    assert set(series.values()) <= there
    written = "".join(path.read_text() for path in Path(CHART, "templates").glob("*"))
    assert set(re.findall(r"enginehouse_(?:\w+_)?(?:requests|sequences|total|seconds)\b", written)) <= there


def test_what_waits_at_a_router_counts_for_its_engine(render: Render) -> None:
    """The names of hosts, as instances have them, become the label that the autoscaler asks for."""
    rendered = render("autoscaling")
    (endpoint,) = rendered.one("ServiceMonitor")["spec"]["endpoints"]
    (rule,) = endpoint["metricRelabelings"]
    wanted = re.compile(rule["regex"])
    (scaler,) = rendered.of("HorizontalPodAutoscaler")
    labels = scaler["spec"]["metrics"][0]["external"]["metric"]["selector"]["matchLabels"]
    assert labels == {"release": RELEASE, "engine": "cpu"}
    found = wanted.fullmatch("team/assistant@cpu-11")
    assert found is not None
    assert found.expand(rule["replacement"].replace("$1", r"\1")) == labels["engine"]
    assert wanted.fullmatch("team/assistant#0") is None
    assert "replicas" not in rendered.one("StatefulSet", f"{NAME}-cpu")["spec"]  # the autoscaler's


def test_the_suite_runs_as_a_job(render: Render) -> None:
    (job,) = render("gpu").of("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = containers(job["spec"]["template"])
    assert container["command"] == ["/usr/bin/tini", "--", "enginehouse-conformance", "run"]
    said = cli.commands["run"].make_context("run", list(container["args"])).params
    assert (said["url"], said["model"]) == (f"http://{NAME}:8000/v1", "smollm2-1.7b")


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"router": {"replicas": 2}}, "several routers share limits, usage and credits by PostgreSQL"),
        (
            {
                "router": {"replicas": 2, "persistence": {"enabled": True}},
                "config": {"accounts": {"url": "sqlite:////data/accounts.db"}},
            },
            "several routers cannot share a SQLite file",
        ),
        ({"config": {"accounts": {"url": "sqlite:////data/accounts.db"}}}, "would be lost with its pod"),
        (
            {"router": {"persistence": {"enabled": True}}, "config": {"accounts": {"url": "sqlite:///accounts.db"}}},
            "only /data can be written",
        ),
        ({"config": {"accounts": {"url": "postgresql://me:secret@db/house"}}}, "does not belong into a ConfigMap"),
        ({"serviceMonitor": {"enabled": True}}, "networkPolicy.metricsFrom"),
        ({"engines": [{"name": "a", "models": ["nope"]}]}, "There are: smollm2-135m."),
        ({"engines": [{"name": "a"}, {"name": "a"}]}, "there are two called 'a'"),
        ({"fleetKey": {"existingSecret": "mine"}}, "fleetKey.sha256: give the hash"),
        ({"router": {"replica": 2}}, "replica"),
        ({"engines": [{"name": "router"}]}, "engines"),
        ({"engineDefaults": {"resources": {"limits": {"cpu": None}}}}, "cpu"),
        ({"config": {"server": {"host": "127.0.0.1"}}}, "server"),
    ],
)
def test_values_that_cannot_be_used_are_refused(helm: Any, render: Render, over: dict[str, Any], words: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        render(over=over)
    assert words in str(caught.value)
