"""How `models --url` shows what a server says of certificates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Run, Scripted

CARD = {"id": "m", "object": "model", "features": ["n"], "declared_features": ["n", "stop"], "proven_features": ["n"]}


@pytest.mark.parametrize(
    ("card", "cells"),
    [
        ({"certificate": {"state": "current", "reason": ""}}, "n stop  n"),
        ({"certificate": {"state": "stale", "reason": "its certificate is old"}}, "n stop  its certificate is old"),
        ({"certificate": {"state": "current"}, "proven_features": "all"}, "n stop"),
        ({"certificate": None}, "n stop"),
        ({"certificate": "yes"}, "n stop"),
        ({"declared_features": []}, "n"),
    ],
)
def test_declared_and_proven_features_stand_side_by_side(
    enginehouse: Run, scripted: Scripted, card: dict[str, Any], cells: str
) -> None:
    body = {"object": "list", "data": [{**CARD, **card}]}
    scripted.replies["/v1/models"] = (200, {"Content-Type": "application/json"}, json.dumps(body).encode())
    done = enginehouse("models", "--url", scripted.url)
    assert done.code == 0
    heading, row = done.out.splitlines()
    assert heading.split()[-2:] == ["FEATURES", "PROVEN"]
    assert " ".join(row.split()) == " ".join(f"m {cells}".split())
