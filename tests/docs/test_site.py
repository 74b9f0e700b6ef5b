"""The site is built without a warning, each link and anchor leads somewhere, and its pages are the repository's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enginehouse.config import load_config

from . import site
from .fenced import ROOT, blocks

FLEET = {"gpu-server": ("vllm", "vllm"), "mac": ("mlx", None), "laptop": ("llamacpp", None)}
"""What each machine of the page takes of `assistant` and of `writer`."""


def entries(nav: Any) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values():
                yield from [inner] if isinstance(inner, str) else entries(inner)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site.build(tmp_path_factory.mktemp("site"))


def test_the_site_is_built_and_no_link_is_broken(built: Path) -> None:
    assert (built / "index.html").exists()
    assert (built / "docs/decisions/index.html").exists()
    assert "Prove, do not declare" in (built / "search.json").read_text()


def test_a_page_loads_nothing_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        tags = [part.partition(">")[0] for part in page.read_text().split("<")]
        loaded = [tag for tag in tags if tag.startswith(("script", "img", "iframe", 'link rel="stylesheet"'))]
        assert not [tag for tag in loaded if "://" in tag or '="//' in tag], page


def test_every_page_has_its_place_and_every_place_its_page() -> None:
    known = site.pages()
    nav = tomllib.loads(site.configuration(known))["project"]["nav"]
    assert sorted(entries(nav)) == sorted(str(page.relative_to(ROOT)) for page in known)


def test_a_page_that_the_navigation_does_not_name_comes_last() -> None:
    nav = tomllib.loads(site.configuration([*site.pages(), ROOT / "docs/new.md"]))["project"]["nav"]
    assert list(entries(nav))[-1] == "docs/new.md"
    assert nav[-1].keys() == {"More"}


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("[x](docs/nowhere.md)", "there is no file for the link 'docs/nowhere.md'"),
        ("[x](examples/nothing.toml)", "there is no file for the link 'examples/nothing.toml'"),
        ("[x](docs/api.md#no-such-anchor)", "anchor does not exist"),
    ],
)
def test_a_link_that_leads_nowhere_stops_the_build(
    link: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = tmp_path / "house"
    for file in ("docs/api.md", "docs/site.toml"):
        (house / file).parent.mkdir(parents=True, exist_ok=True)
    (house / "docs/api.md").write_text("# The API\n")
    (house / "CONTRIBUTING.md").write_text("# Working\n")
    (house / "README.md").write_text(f"# House\n\nA link: {link}, and one in code: `[y](not/there.md)`.\n")
    (house / "docs/site.toml").write_text(
        '[project]\nsite_name = "House"\ndocs_dir = "pages"\nsite_dir = "site"\n'
        "[project.validation]\ninvalid_links = true\ninvalid_link_anchors = true\n"
    )
    monkeypatch.setattr(site, "ROOT", house)
    monkeypatch.setattr(site, "CONFIG", house / "docs/site.toml")
    with pytest.raises(site.SiteError) as refusal:
        site.build(tmp_path / "built")
    assert told in str(refusal.value)
    assert "not/there" not in str(refusal.value)


def test_links_of_what_was_built_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/">1</a><a href="a/#there">2</a><a href="a/#not">3</a><img src="no.svg"><a href="https://x.org/y">4</a>'
    )
    (tmp_path / "a/index.html").write_text('<h2 id="there">x</h2><a href="../index.html">up</a><a href="#there">x</a>')
    assert list(site.broken_links(tmp_path)) == [
        "index.html: 'a/#not' has no such anchor", "index.html: 'no.svg' leads nowhere",
    ]  # fmt: skip


def test_versions_stand_beside_each_other(tmp_path: Path) -> None:
    built, out = tmp_path / "built", tmp_path / "out"
    built.mkdir()
    out.mkdir()
    for version in ("0.1", "0.2", "0.2"):
        (built / "index.html").write_text(version)
        site.publish(built, out, version)
    assert [(row["version"], row["aliases"]) for row in json.loads((out / "versions.json").read_text())] == [
        ("0.2", ["latest"]), ("0.1", []),
    ]  # fmt: skip
    assert (out / "0.1/index.html").read_text() == "0.1"
    assert "url=0.2/" in (out / "index.html").read_text()
    with pytest.raises(site.SiteError, match="no name of a version"):
        site.publish(built, out, "../elsewhere")


@pytest.mark.parametrize("host", FLEET)
def test_each_machine_takes_what_the_page_on_the_fleet_says(host: str, tmp_path: Path) -> None:
    (block,) = [block for block in blocks("docs/mixed-fleet.md") if block.value == "fleet"]
    (tmp_path / "fleet.toml").write_text(block.text)
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("enginehouse")), "explain", "--config", str(tmp_path / "fleet.toml")),
            *("--devices", str(ROOT / f"tests/unit/cli/hosts/{host}.json"), "--json"),
        ],
        env={**os.environ, "FLEET_KEY": "secret"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    models = {model["model"]: model["placements"] for model in json.loads(done.stdout)["models"]}
    chosen = [
        next((row["backend"] for row in models[name] if row["is_chosen"]), None) for name in ("assistant", "writer")
    ]
    assert tuple(chosen) == FLEET[host]


@pytest.mark.parametrize("name", ["hosts", "entries"])
def test_the_files_on_growing_are_configurations(name: str, tmp_path: Path) -> None:
    (block,) = [block for block in blocks("docs/growing.md") if block.value == name]
    (tmp_path / "house.toml").write_text(block.text)
    assert list(load_config(tmp_path / "house.toml").models) == ["assistant"]
