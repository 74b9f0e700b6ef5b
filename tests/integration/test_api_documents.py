"""Every request that a document shows is sent as it is written there, and answered in the form that it documents.

What is replaced is what a person replaces who changes the server: the base URL, the key, and the name of the model.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from enginehouse_conformance import Declared, Options, UrlTarget, Verdict, run_suite, select
from tests.weights import tiny_gguf

from . import documents
from .documents import Example, authored, documented_answers, guide_examples, krosai_examples, lacks, reference_examples
from .served import Served
from .test_sdk_node import FOLDER, node

pytestmark = pytest.mark.engine

KEY = "dos_sk_of_these_tests"
LIMIT = 48
"""Tokens where an example says no limit: the model would talk on until its context ends."""
MOUNTED = f"""
[server]
port = 0

[models.tiny]
context_tokens = 2048
placements = [{{ backend = "llamacpp", source = {json.dumps(str(tiny_gguf()))} }}]

[agents."desk"]
model = "tiny"
instructions = "You know trains."
tools = ["find_connection", "find_city"]

[[keys]]
name = "tests"
sha256 = "SHA256"

[[mounts]]
profile = "dos-ai"
path = "/dos"
models = {{ dos-ai = "tiny" }}
settings.fields.max_tokens.default = {LIMIT}

[[mounts]]
profile = "krosai"
path = "/kros"
models = {{ "KrosMLingual1.0.1" = "tiny" }}

[[mounts]]
profile = "dottxt"
path = "/dottxt"
models = {{ "Qwen/Qwen3-30B-A3B-FP8" = "tiny" }}

[[mounts]]
profile = "digitalocean-agent"
path = "/"
models = {{ "travel-desk" = "desk" }}
"""
REFERENCE = reference_examples()
CURLS = [example for example in REFERENCE if example.kind == "curl"]
SHOWN = documented_answers()


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of all profiles on one small model."""
    config = MOUNTED.replace("SHA256", hashlib.sha256(KEY.encode()).hexdigest())
    served = Served(config, tmp_path_factory.mktemp("profiles"))
    try:
        yield served.wait_ready()
    finally:
        served.close()


def moved(example: Example, server: Served) -> str:
    """*example*, with the base URL and the key of *server*."""
    text = example.text.replace("https://api.dos.ai/v1", f"{server.url}/dos/v1")
    for shown in ("dos_sk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "dos_sk_your_api_key_here"):
        text = text.replace(shown, KEY)
    return text


def posted(server: Served, path: str, body: str, **headers: str) -> httpx.Response:
    head = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
    return httpx.post(f"{server.url}{path}", content=body.encode(), headers=head, timeout=120.0, trust_env=False)


def events(text: str) -> list[str]:
    return [event.removeprefix("data: ") for event in text.split("\n\n") if event.startswith("data: ")]


def test_the_documents_show_as_many_requests_as_were_counted() -> None:
    """Four for curl, one for Python and one for Node in the reference; the others show one, or none."""
    assert [example.kind for example in REFERENCE] == ["curl"] * 4 + ["python", "node"]
    assert len(guide_examples()) == 1
    assert len(krosai_examples()) == 1
    for document in ("dottxt-reference.txt", "digitalocean-agent-reference.txt"):
        assert documents.shown_bodies(document) == []
    assert len(documents.shown_bodies("krosai-reference.txt")) == 1


@pytest.mark.parametrize("at", range(4))
def test_an_example_for_curl_is_answered(mounted: Served, at: int) -> None:
    assert shutil.which("curl"), "there is no curl: install the package of that name"
    done = subprocess.run(
        ["bash", "-c", moved(CURLS[at], mounted)], capture_output=True, text=True, timeout=120, check=True
    )
    if '"stream": true' in CURLS[at].text:
        check_stream(done.stdout)
        return
    answer = json.loads(done.stdout)
    assert lacks(answer, SHOWN["dos-ai"]) == []
    assert answer["model"] == "dos-ai"
    choice = answer["choices"][0]
    if choice["finish_reason"] == "tool_calls":
        assert lacks(answer, SHOWN["dos-ai calls"]) == []
    elif "json_object" in CURLS[at].text and choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def check_stream(text: str) -> None:
    """The last chunk has the finish reason and the usage, which no other has, and then comes the end."""
    *told, done = events(text)
    assert done == "[DONE]"
    chunks = [json.loads(each) for each in told]
    between, last = SHOWN["dos-ai chunks"][0], SHOWN["dos-ai chunks"][-1]
    assert lacks(chunks[1], between) == []
    assert lacks(chunks[-1], last) == []
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [chunk["choices"][0]["finish_reason"] is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


def test_the_example_for_the_python_sdk_is_answered(mounted: Served) -> None:
    (example,) = (each for each in REFERENCE if each.kind == "python")
    printed, names = io.StringIO(), dict[str, Any]()
    with contextlib.redirect_stdout(printed):
        exec(compile(moved(example, mounted), example.document, "exec"), names)
    with names["client"]:
        answer = names["response"].model_dump()
    assert lacks(answer, SHOWN["dos-ai"]) == []
    assert printed.getvalue() == answer["choices"][0]["message"]["content"] + "\n"


def test_the_example_for_the_node_sdk_is_answered(mounted: Served) -> None:
    (example,) = (each for each in REFERENCE if each.kind == "node")
    script = moved(example, mounted) + "\nconsole.error(JSON.stringify(response));"
    done = subprocess.run(
        [node(), "--input-type=module", "-"],
        input=script.encode(),
        cwd=FOLDER,
        capture_output=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(done.stderr)
    assert lacks(answer, SHOWN["dos-ai"]) == []
    # Bytes, as text would have other ends of lines: a random model writes all of them.
    assert done.stdout.decode() == answer["choices"][0]["message"]["content"] + "\n"


def test_the_example_of_the_guide_is_answered(mounted: Served) -> None:
    (example,) = guide_examples()
    sent = documents.line(moved(example, mounted))
    assert (sent.method, sent.path) == ("POST", "/v1/chat/completions")
    headers = {name.lower(): value for name, value in sent.headers.items()}
    answer = posted(mounted, f"/dos{sent.path}", sent.body, **headers)
    assert (answer.status_code, lacks(answer.json(), SHOWN["dos-ai"])) == (200, [])


def test_the_example_of_krosai_is_answered(mounted: Served) -> None:
    (example,) = krosai_examples()
    answer = posted(mounted, "/kros/v1/chat/completions", example.text)
    assert (answer.status_code, lacks(answer.json(), SHOWN["krosai"])) == (200, [])
    assert answer.json()["usage"]["completion_tokens"] <= 50


def test_the_authored_example_of_dottxt_satisfies_its_schema(mounted: Served) -> None:
    example = authored("dottxt")
    answer = posted(mounted, "/dottxt/v1/chat/completions", example.text).json()
    assert lacks(answer, {**SHOWN["krosai"], "usage": SHOWN["dottxt usage"], "system_fingerprint": "text"}) == []
    assert answer["choices"][0]["finish_reason"] == "stop"
    schema = json.loads(example.text)["response_format"]["json_schema"]["schema"]
    assert jsonschema_rs.is_valid(schema, json.loads(answer["choices"][0]["message"]["content"]))
    listed = httpx.get(
        f"{mounted.url}/dottxt/v1/models", headers={"authorization": f"Bearer {KEY}"}, trust_env=False
    ).json()
    assert [model["id"] for model in listed["data"]] == ["Qwen/Qwen3-30B-A3B-FP8"]


def test_the_authored_example_of_an_agent_has_all_its_fields_and_is_streamed(mounted: Served) -> None:
    text = posted(mounted, "/api/v1/chat/completions?agent=true", authored("digitalocean-agent").text).text
    *told, usage, done = events(text)
    assert done == "[DONE]", text
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"]["completion_tokens"] <= 24
    assert all(json.loads(each)["model"] == "travel-desk" for each in told)
    assert json.loads(told[1])["choices"][0]["logprobs"]["content"][0]["top_logprobs"]


@pytest.mark.parametrize(
    ("profile", "base", "model"),
    [
        ("dos-ai", "/dos/v1", "dos-ai"),
        ("krosai", "/kros/v1", "KrosMLingual1.0.1"),
        ("dottxt", "/dottxt/v1", "Qwen/Qwen3-30B-A3B-FP8"),
        ("digitalocean-agent", "/api/v1", "travel-desk"),
    ],
)
async def test_a_profile_passes_the_rules_of_its_document(mounted: Served, profile: str, base: str, model: str) -> None:
    key = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(trust_env=False) as client:
        card = (await client.get(f"{mounted.url}{base}/models/{model}", headers=key)).json()
    target = UrlTarget(
        f"{mounted.url}{base}",
        model=model,
        key=KEY,
        query={"agent": "true"} if profile == "digitalocean-agent" else None,
        declared=Declared(features=frozenset(card["features"])),
    )
    report = await run_suite(target, Options(profile=profile, only=select(["PRF", "AGT"])))
    bad = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED)
    assert {result.rule: result.message for result in report.results if result.verdict in bad} == {}
    assert report.summary.must.passed >= 4
