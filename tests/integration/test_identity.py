"""Comparisons of a real engine behind a real server, by the suite and by the router: the same, and another template."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from enginehouse_conformance.cli import cli
from tests.weights import tiny_gguf

CONFIG = """
[server]
port = 0

[models.same]
context_tokens = 1024
placements = [{{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1 }} }}]

[models.other]
context_tokens = 1024
placements = [
    {{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1, chat_template = "{template}" }} }},
]
"""
TEMPLATE = (
    r"{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    r"<|im_start|>assistant\n"
)
"""The embedded model's, without its default system prompt."""


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.mark.engine
def test_a_real_engine_is_itself_and_not_with_another_template(serve, tmp_path: Path) -> None:
    server = serve(CONFIG.format(weights=tiny_gguf(), template=TEMPLATE))
    url, stored = f"{server.url}/v1", tmp_path / "same.json"
    code, said = invoke("fingerprint", url, "--model", "same", "--probes", 8, "-o", stored)
    assert code == 0, said
    assert json.loads(stored.read_bytes())["served_by"]["x-enginehouse-instance"] == ["same#0"]
    code, said = invoke("compare", stored, url, "--within", "arithmetic")
    assert code == 0, said
    code, said = invoke("compare", url, url, "--model", "same", "--model-b", "other", "--probes", 8, "--within", "near")
    assert code == 1, said
    assert "Band 'other'" in said
    assert "tokens each: another template" in said


HOUSE = """
[server]
port = 0
admin_socket = "admin.sock"

[models.same]
context_tokens = 1024
replicas = 2
placements = [{{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1 }} }}]

[models.other]
context_tokens = 1024
placements = [
    {{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1, chat_template = "{template}" }} }},
]
"""


def compare(served, *words: object) -> tuple[int, str, str]:
    """`enginehouse compare` as an owner runs it, on eight prompts."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("enginehouse")), "compare", *map(str, words), "--probes", "8"],
        env={name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")},
        cwd=served.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.engine
def test_a_router_compares_instances_models_urls_and_files(serve, tmp_path: Path) -> None:
    served = serve(HOUSE.format(weights=tiny_gguf(), template=TEMPLATE))
    owner, v1 = ("--config", served.config_file), f"{served.url}/v1"
    code, said, trouble = compare(served, "same#0", "same#1", "--within", "arithmetic", *owner)
    assert code == 0, trouble
    assert "D = 0, " in said
    assert "A: same at same#0" in said
    page = tmp_path / "compared.html"
    code, said, trouble = compare(served, "same#1", "other#0", "--within", "near", "--json", "--html", page, *owner)
    assert code == 1, trouble
    found = json.loads(said)
    assert (found["band"], found["explanations"][0]["kind"]) == ("other", "template")
    assert "<svg" in page.read_text()
    code, said, trouble = compare(served, "same", "other", "--url", served.url, "--within", "near")
    assert code == 1, trouble
    stored = tmp_path / "same.json"
    code, said = invoke("fingerprint", v1, "--model", "same", "--probes", 8, "-o", stored)
    assert code == 0, said
    code, said, trouble = compare(served, stored, "same#1", "--within", "arithmetic", *owner)
    assert code == 0, trouble
    code, said, trouble = compare(served, "same#0", v1, "--within", "arithmetic", *owner)
    assert code == 0, trouble


@pytest.mark.engine
def test_what_the_router_cannot_compare_is_told(serve, tmp_path: Path) -> None:
    served = serve(HOUSE.format(weights=tiny_gguf(), template=TEMPLATE))
    owner = ("--config", served.config_file)
    for words, said in (
        (("same#0", "same#7", *owner), "There is no instance 'same#7'. There are: same#0, same#1, other#0"),
        (("same#0", "@mac", *owner), "There is no instance 'same@mac'"),
        (("same", "nobody", "--url", served.url), "model_not_found"),
        (("same#0", "same#1", "--url", served.url), "admin_socket"),
        ((f"{served.url}/v1", f"{served.url}/v1", *owner), "give --model"),
        (("same", f"{served.url}/v1", "--key-env-b", "NO_SUCH_KEY", "--url", served.url), "NO_SUCH_KEY is not set"),
        ((tmp_path / "no.json", "same", *owner), "no.json: No such file"),
    ):
        code, _, trouble = compare(served, *words)
        assert code == 2, (words, trouble)
        assert said in trouble, (words, trouble)
        assert "Traceback" not in trouble


FLEET = """
fingerprint = "load"

[server]
port = 0
admin_socket = "admin.sock"

[usage]
path = "usage.db"

[watch]
interval_s = 1
false_alarm_days = 0.01

[models.m]
context_tokens = 1024
equivalence = "arithmetic"
prefer = "least_loaded"

[[models.m.placements]]
backend = "upstream"
source = "{same}/v1"
options = {{ model = "same", health_interval_s = 0 }}

[[models.m.placements]]
backend = "upstream"
source = "{front}/v1"
options = {{ model = "alias", health_interval_s = 0 }}
"""
FRONT = """
[server]
port = {port}

[models.{model}]
context_tokens = 1024
placements = [{{ backend = "llamacpp", source = "{weights}", options = {{ slots = 2{options} }} }}]
"""


def instances(served) -> dict[str, dict]:
    """What the owner is told of each instance."""
    transport = httpx.HTTPTransport(uds=str(served.folder / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        return {one["id"]: one for one in client.get("/admin/instances").json()["instances"]}


@pytest.mark.engine
def test_an_upstream_that_is_exchanged_while_it_serves_is_set_aside_and_no_request_fails(serve, tmp_path: Path) -> None:
    """Behind one ID are two servers; another one with another template takes the place of the second."""
    weights = tiny_gguf()
    same = serve(FRONT.format(port=0, model="same", weights=weights, options="")).wait_ready()
    front = serve(FRONT.format(port=0, model="alias", weights=weights, options="")).wait_ready()
    house = serve(FLEET.format(same=same.url, front=front.url)).wait_ready()
    house.wait_for_log("instance is watched", lambda line: line["instance"] == "m#1", timeout_s=60)
    told = instances(house)
    assert told["m#1"]["difference"]["band"] == "arithmetic"
    assert told["m#0"]["probe_tokens"]["completion"] >= 24
    # The same address, another template: what answers there from now on is something else.
    port = front.address[1]
    assert front.end() == 0
    changed = f', chat_template = "{TEMPLATE}"'
    serve(FRONT.format(port=port, model="alias", weights=weights, options=changed)).wait_ready()
    answered: set[str] = set()
    with httpx.Client(base_url=f"{house.url}/v1", timeout=60, trust_env=False) as client:

        def ask() -> str:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
            answer = client.post("/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            return answer.headers["x-enginehouse-instance"]

        ends_at = time.monotonic() + 120
        while instances(house)["m#1"]["aside"] is None:
            assert time.monotonic() < ends_at, house.text()
            answered.add(ask())
            time.sleep(0.3)
        assert "m#0" in answered
        assert {ask() for _ in range(6)} == {"m#0"}
    assert "prompts have other numbers of tokens" in instances(house)["m#1"]["aside"]
    line = house.wait_for_log("instance set aside", lambda line: line["instance"] == "m#1")
    assert 'equivalence = "arithmetic"' in line["reason"]
