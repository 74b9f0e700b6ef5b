"""Orders to the instances of a running server, and how these are listed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from enginehouse.cli.shared.admin import admin_client
from enginehouse.cli.shared.output import print_json, print_table

_INSTANCE = re.compile(r".+#[0-9]+")


def give_order(
    order: str, name: str, config_file: str | None, url: str | None, key: str | None, *, as_json: bool, **fields: Any
) -> None:
    """Order something of the model or instance called *name*, and print how its instances are then."""
    kind = "instance" if _INSTANCE.fullmatch(name) else "model"
    with admin_client(config_file, url, key) as client:
        answer = client.ask("POST", f"/admin/instances/{order}", {kind: name, **fields})
    print_instances(answer["instances"], as_json=as_json)


def print_instances(instances: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Print *instances* as the server tells of them."""
    if as_json:
        print_json(list(instances))
        return
    print_table(
        ("INSTANCE", "STATE", "RUNNING", "WAITING", "BACKEND", "DEVICES", "WHY"),
        (
            (
                one["id"],
                _state(one),
                f"{one['running']}/{one['capacity']}",
                str(one["waiting"]),
                one["backend"],
                ", ".join(one["devices"]) or "-",
                "; ".join(filter(None, (one["reason"], one["placement"], _answers(one)))),
            )
            for one in instances
        ),
    )


def _state(one: dict[str, Any]) -> str:
    progress = one["progress"]
    words = [one["state"]]
    if progress is not None:
        share = "" if progress["fraction"] is None else f" {progress['fraction']:.0%}"
        words[0] += f" ({progress['stage']}{share})"
    words += [word for word in ("pinned", "held", "aside") if one.get(word)]
    return ", ".join(words)


def _answers(one: dict[str, Any]) -> str:
    """What is known of its answers, where they were compared with the reference of its model."""
    return str(one["answers"]) if one.get("difference") or one.get("aside") else ""
