"""Open WebUI, unmodified, as a server in front of this one: what its page asks of it, and what its own API hands on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.integration.raw import wait_until
from tests.integration.served import MODEL
from tests.programs import free_port

from .conftest import SCRIPTED, Client, needs, program

pytestmark = pytest.mark.engine

_START_S = 300.0  # it makes its database, and imports for half a minute
QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
ADMIN = {"name": "Admin", "email": "admin@example.org", "password": "a-Passw0rd-of-tests"}
QUIET = {
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "True",
    "RAG_EMBEDDING_ENGINE": "openai",
    "WEBUI_SECRET_KEY": "secret-of-tests",
}


@pytest.fixture
def page(client: Client) -> Iterator[httpx.Client]:
    """Its own API, as the user who came first."""
    needs("open-webui", program("open-webui"))
    port = free_port()
    line = f"{client.connect('open-webui', MODEL).run} --host 127.0.0.1 --port {port}"
    environment = {**client.environment, **QUIET, "DATA_DIR": str(client.home)}
    with (client.work / "log").open("w") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", line], cwd=client.work, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as http:
            _wait_ready(http, process, client)
            token = http.post("/api/v1/auths/signup", json=ADMIN).raise_for_status().json()["token"]
            http.headers["authorization"] = f"Bearer {token}"
            yield http
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_ready(http: httpx.Client, process: subprocess.Popen[bytes], client: Client) -> None:
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at and process.poll() is None:
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail((client.work / "log").read_text()[-2000:])


def ask(page: httpx.Client, **fields: Any) -> httpx.Response:
    body = {**QUESTION, "max_tokens": 16, "temperature": 0, **fields}
    return page.post("/api/chat/completions", json=body).raise_for_status()


def test_open_webui(page: httpx.Client, client: Client) -> None:
    listed = {model["id"] for model in page.get("/api/models").raise_for_status().json()["data"]}
    assert {MODEL, SCRIPTED} <= listed
    whole = ask(page).json()["choices"][0]["message"]["content"]
    assert whole
    lines = ask(page, stream=True).text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    parts = [choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ())]
    assert "".join(parts) == whole
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    formed = ask(page, response_format=form).json()["choices"][0]["message"]["content"]
    assert json.loads(formed)["city"] in ("Paris", "Rome")
    # The log is read by a thread of its own.
    wait_until(lambda: [line["status"] for line in client.requests("chat")] == [200, 200, 200], "all three are logged")
