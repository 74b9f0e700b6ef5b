"""Health, readiness, models and metrics of a running server."""

from __future__ import annotations

import httpx

from .served import MODEL, SLASHED, Served


def test_a_model_is_found_by_its_id_with_slashes_and_without(http: httpx.Client) -> None:
    listed = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    assert set(listed) == {MODEL, SLASHED}
    for name, card in listed.items():
        assert http.get(f"/v1/models/{name}").json()["id"] == card["id"] == name
    assert listed[MODEL]["state"] == "ready"
    assert listed[MODEL]["context_length"] == 2048
    assert "streaming" in listed[MODEL]["features"]


def test_health_names_the_version_and_readiness_the_models(http: httpx.Client, server: Served) -> None:
    assert http.get("/health").json()["status"] == "ok"
    ready = http.get("/ready").json()
    assert ready["status"] == "ready"
    assert ready["models"][MODEL] == "ready"
    assert server.descendants(), "the engine is a process of its own"


def test_head_answers_as_get_does_without_the_body(http: httpx.Client) -> None:
    for path in ("/health", "/ready", "/v1/models", f"/v1/models/{SLASHED}", "/metrics"):
        got, reply = http.get(path), http.head(path)
        assert (reply.status_code, reply.headers["content-type"]) == (got.status_code, got.headers["content-type"])
        assert reply.content == b""
    assert http.head("/v1/models/unknown").status_code == 404
