"""Weights that are here: listed with their size and last use, and removed where nothing keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.weights import held

from .conftest import Run

COMMIT = "1" * 40
NAMED, OTHER = f"hub:org/named@{COMMIT}/a.gguf", f"hub:org/other@{COMMIT}/b.gguf"


@pytest.fixture
def config(enginehouse: Run, tmp_path: Path) -> str:
    """A configuration that names one of two that were fetched, which take 3 MB in all."""
    for at, source in enumerate((NAMED, OTHER), start=1):
        path = tmp_path / "hub" / f"models--{at}" / "snapshots" / COMMIT / source.rpartition("/")[2]
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * at * 2**20)
        held.keep(source, [path], is_fetched=True)
    file = tmp_path / "house.toml"
    file.write_text(f"""
[weights]
disk = "200GiB"

[models.a]
placements = [{{ backend = "llamacpp", source = "{NAMED}" }}]
""")
    return str(file)


def test_weights_are_listed_with_size_last_use_and_what_keeps_them(enginehouse: Run, config: str) -> None:
    held.use(OTHER)
    listed = enginehouse("models", "list", "--config", config)
    head, *rows, total = listed.out.splitlines()
    assert head.split("  ")[0] == "SOURCE"
    assert any(NAMED in row and "1 MiB" in row and "the configuration" in row for row in rows)
    assert total == "3 MiB of 200.00 GiB taken by what was fetched."
    found = enginehouse("models", "list", "--json", "--config", config).json
    assert (found["held_bytes"], found["limit_bytes"]) == (3 * 2**20, 200 * 2**30)
    by_source = {each["source"]: each for each in found["weights"]}
    assert {source: (each["size_bytes"], each["named"]) for source, each in by_source.items()} == {
        NAMED: (2**20, True),
        OTHER: (2 * 2**20, False),
    }
    assert all(each["used_at"] >= each["fetched_at"] - 1 for each in by_source.values())


def test_weights_are_removed_unless_something_keeps_them(enginehouse: Run, config: str) -> None:
    done = enginehouse("models", "remove", OTHER, NAMED, "--config", config)
    assert (done.code, "the configuration names it" in done.err) == (1, True)
    assert len(enginehouse("models", "list", "--json", "--config", config).json["weights"]) == 2, "nothing by halves"
    done = enginehouse("models", "remove", OTHER, "--json", "--config", config)
    assert done.json == [{"source": OTHER, "freed_bytes": 2 * 2**20}]
    done = enginehouse("models", "remove", OTHER, "--config", config)
    assert (done.code, "enginehouse models list" in done.err) == (1, True)
    done = enginehouse("models", "remove", NAMED, "--force", "--config", config)
    assert done.out == f"{NAMED}: 1 MiB are free.\n"
    assert enginehouse("models", "list", "--json", "--config", config).json["weights"] == []


def test_a_limit_that_is_no_size_is_refused_by_its_place(enginehouse: Run, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text('[weights]\ndisk = "much"\n')
    done = enginehouse("models", "list", "--config", str(file))
    assert done.code == 2
    assert "weights" in done.err
    assert "GiB" in done.err
