"""Bodies of the small routes."""

from __future__ import annotations

import json

from openai.types import Model

from enginehouse.dialects.openai import errors, models
from enginehouse.dialects.openai.models import Loading, ModelCard, Readiness

CARD = ModelCard(
    id="org/m",
    created=1767225600,
    owned_by="enginehouse",
    context_length=2048,
    features=("n", "stop"),
    limits={"n": 4},
    backends=("llamacpp",),
    state="ready",
)


def test_a_model_has_the_references_fields_and_ours() -> None:
    body = json.loads(models.model_card(CARD))
    Model.model_validate(body, strict=True)
    assert (body["context_length"], body["features"], body["limits"]) == (2048, ["n", "stop"], {"n": 4})


def test_a_list_without_models_is_empty() -> None:
    assert json.loads(models.model_list([])) == {"object": "list", "data": []}
    assert [card["id"] for card in json.loads(models.model_list([CARD]))["data"]] == ["org/m"]


def test_health_and_readiness() -> None:
    assert json.loads(models.health("1.2")) == {"status": "ok", "version": "1.2"}
    ready = Readiness(status="starting", models={"m": "loading"})
    plain = {"status": "starting", "models": {"m": "loading"}, "loading": {}, "problems": {}}
    assert json.loads(models.readiness(ready)) == plain
    told = models.readiness(Readiness(status="starting", models={}, loading={"m": Loading(stage="weights")}))
    assert json.loads(told)["loading"] == {"m": {"stage": "weights", "fraction": None}}
    assert models.NOT_READY == errors.NOT_READY
