"""More than fits: in the queue, in the time to wait, in the context."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from .raw import NO_END, Raw, metric, wait_until
from .served import MODEL, Served

HASTY = "hasty"
CROWDED = "crowded"
MAX_QUEUE = 6
CROWD = 200
CROWD_SLOTS = 4
CROWD_QUEUE = 150
CONTEXT_TOKENS = 512
KEYS = {name: f"secret-of-{name}" for name in ("flood", "calm")}


def model(name: str, *, slots: int, max_queue: int, queue_timeout_s: float) -> str:
    """A section of the configuration."""
    return f"""
[models."{name}"]
context_tokens = {CONTEXT_TOKENS}
reproducible = true
max_queue = {max_queue}
queue_timeout_s = {queue_timeout_s}
[[models."{name}".placements]]
backend = "llamacpp"
source = "demo:{MODEL}"
options = {{ slots = {slots} }}
"""


CONFIG = "".join(
    [
        "[server]\nport = 0\nmetrics_public = true\n",
        *(
            f'[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\n'
            for name, secret in KEYS.items()
        ),
        model(MODEL, slots=1, max_queue=MAX_QUEUE, queue_timeout_s=120),
        model(HASTY, slots=1, max_queue=MAX_QUEUE, queue_timeout_s=0.1),
        model(CROWDED, slots=CROWD_SLOTS, max_queue=CROWD_QUEUE, queue_timeout_s=300),
    ]
)


class Caller(Raw):
    """A connection of a client that has a key."""

    def __init__(self, served: Served, key: str = "flood") -> None:
        super().__init__(served.address)
        self._authorization = {"authorization": f"Bearer {KEYS[key]}"}

    def ask(self, **fields: Any) -> str:  # type: ignore[override]  # its headers are its own
        return super().ask(headers=self._authorization, **fields)

    def assert_refused(self, code: str) -> None:
        """The next answer is 503 with *code* and a time to come again."""
        error = self.answer()["error"]
        assert (self.status, error["code"], error["type"]) == (503, code, "server_error")
        assert int(self.headers["retry-after"]) > 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(CONFIG, tmp_path_factory.mktemp("overload"))
    try:
        served.wait_ready()
        yield served
        assert served.end() == 0, served.text()
    finally:
        served.close()


def queued(served: Served, number: int, name: str = MODEL) -> None:
    """Wait until *number* requests wait."""
    wait_until(lambda: metric(served, "enginehouse_queued_requests", name) == number, f"{number} wait")


@contextlib.contextmanager
def full_slot(served: Served, name: str = MODEL) -> Iterator[None]:
    """The only slot of a model is taken, and given back at the end."""
    with Caller(served) as holder:
        holder.ask(model=name, stream=True, max_tokens=400, logit_bias=NO_END)
        next(holder.events())
        yield


def test_a_client_that_floods_the_queue_is_refused_and_gives_way_to_others(served: Served) -> None:
    """Another client gets a place in a full queue, and its turn after one request of the flood."""
    with contextlib.ExitStack() as stack:
        flood, ids = [], []
        with full_slot(served):
            for number in range(MAX_QUEUE):
                flood.append(stack.enter_context(Caller(served)))
                ids.append(flood[-1].ask(max_tokens=1))
                queued(served, number + 1)
            one_more = stack.enter_context(Caller(served))
            one_more.ask()
            one_more.assert_refused("queue_full")

            calm = stack.enter_context(Caller(served, "calm"))
            calm_id = calm.ask(max_tokens=1)
            flood.pop().assert_refused("queue_full")  # the newest of the flood
            ids.pop()
            queued(served, MAX_QUEUE)
        for client in (*flood, calm):
            client.answer()
            assert client.status == 200
        for request_id in (*ids, calm_id):
            served.wait_for_log("request", lambda line, wanted=request_id: line["id"] == wanted)
        served_ids = [line["id"] for line in served.log if line.get("id") in (*ids, calm_id)]
        assert served_ids == [ids[0], calm_id, *ids[1:]]


def test_a_request_that_waits_longer_than_it_may_is_refused(served: Served) -> None:
    with full_slot(served, HASTY), Caller(served) as client:
        client.ask(model=HASTY)
        client.assert_refused("queue_timeout")
    wait_until(lambda: metric(served, "enginehouse_running_sequences", HASTY) == 0, "the slot is free")
    with Caller(served) as client:
        client.ask(model=HASTY, max_tokens=1)
        client.answer()
        assert client.status == 200


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(served: Served) -> None:
    with Caller(served) as client:
        client.ask(messages=[{"role": "user", "content": "word " * 600}])
        error = client.answer()["error"]
        assert (client.status, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
        numbers = [int(word) for word in error["message"].replace(".", " ").split() if word.isdigit()]
        assert numbers[0] == CONTEXT_TOKENS
        assert numbers[1] > 600


@pytest.mark.parametrize("max_tokens", [32_000, 2**31 - 1])
def test_an_answer_asked_to_be_longer_than_the_rest_of_the_context_ends_there(served: Served, max_tokens: int) -> None:
    """A bound of the answer's length is no order to reach it: clients send their own model's largest number."""
    with Caller(served) as client:
        client.ask(messages=[{"role": "user", "content": "word " * 400}], max_tokens=max_tokens, logit_bias=NO_END)
        body = client.answer()
        assert client.status == 200, body
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["total_tokens"] == CONTEXT_TOKENS


def test_two_hundred_streams_at_once_are_whole_or_refused(served: Served) -> None:
    """On four slots; as many are served as slots and queue take, at least."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Caller(served)) for _ in range(CROWD)]
        for client in clients:
            client.ask(model=CROWDED, stream=True, max_tokens=3, logit_bias=NO_END)
        whole = 0
        for client in clients:
            if client.read_head() == 503:
                client.assert_refused("queue_full")
                continue
            *_, last, done = list(client.events())
            assert done == "[DONE]"
            assert json.loads(last)["choices"][0]["finish_reason"] == "length"
            whole += 1
        assert whole >= CROWD_SLOTS + CROWD_QUEUE
    assert metric(served, "enginehouse_running_sequences", CROWDED) == 0
    assert metric(served, "enginehouse_queued_requests", CROWDED) == 0
