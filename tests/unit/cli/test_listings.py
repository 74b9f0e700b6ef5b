from __future__ import annotations

from pathlib import Path

from .conftest import Run, Scripted, install

BROKEN = 'enginehouse_api = "9.0"\n'


def test_plugins_are_listed_and_a_refused_one_with_its_reason(enginehouse: Run, site: Path) -> None:
    install(site, "broken", "enginehouse_broken", BROKEN)
    done = enginehouse("plugins")
    assert done.code == 0
    assert "markov-dist" in done.out
    assert "refused: broken (broken-dist): it was built for another version of the API" in done.out
    assert "wanted:" in done.out
    assert "offered: 9.0" in done.out
    listing = enginehouse("plugins", "--json").json
    assert {plugin["name"] for plugin in listing["loaded"]} >= {"markov"}
    assert [plugin["offered"] for plugin in listing["quarantined"] if plugin["name"] == "broken"] == ["9.0"]


def test_models_are_listed_with_every_placement_and_its_weights(enginehouse: Run, parrot: Path) -> None:
    listing = enginehouse("models", "--config", str(parrot), "--json").json
    first, second = listing
    assert (first["id"], second["id"]) == ("parrot", "big/one")
    here, demo = first["placements"]
    assert (here["is_chosen"], here["weights"], here["devices"]) == (True, "here", ["cpu"])
    assert here["path"] == str(parrot.parent / "fables.txt")
    assert (demo["is_chosen"], demo["weights"], demo["path"]) == (False, "absent", None)
    assert demo["reason"] == "placement 0 comes first"
    (nowhere,) = second["placements"]
    assert not nowhere["is_chosen"]
    assert "apple" in nowhere["reason"]
    table = enginehouse("models", "--config", str(parrot)).out
    for word in ("parrot", "big/one", "demo:smollm2-135m", "chosen: runs on cpu", "not used: placement 0 comes first"):
        assert word in table


def test_the_configuration_may_come_from_the_environment(enginehouse: Run, parrot: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("ENGINEHOUSE_CONFIG", str(parrot))
    assert [model["id"] for model in enginehouse("models", "--json").json] == ["parrot", "big/one"]


def test_models_of_a_running_server_are_listed(enginehouse: Run, scripted: Scripted) -> None:
    for url in (scripted.url, f"{scripted.url}/v1/"):
        assert [model["id"] for model in enginehouse("models", "--url", url, "--json").json] == ["first/one", "second"]
    assert "first/one" in enginehouse("models", "--url", scripted.url, "--key", "s3cret").out
    assert scripted.keys == [None, None, "Bearer s3cret"]


def test_a_refusing_server_is_told_with_what_to_do(enginehouse: Run, scripted: Scripted) -> None:
    scripted.refuses("/v1/models", 401, "An API key is needed.")
    done = enginehouse("models", "--url", scripted.url)
    assert done.code == 1
    assert done.err == "Error: An API key is needed (status 401). Give the key in ENGINEHOUSE_API_KEY.\n"


def test_explain_gives_a_reason_for_every_placement(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("explain", "parrot", "-c", str(parrot))
    assert done.code == 0
    assert "0. markov with" in done.out
    assert "chosen: runs on cpu" in done.out
    assert "1. markov with demo:smollm2-135m: not used: placement 0 comes first" in done.out
    listing = enginehouse("explain", "parrot", "-c", str(parrot), "--json").json
    (explained,) = listing["models"]
    assert explained["model"] == "parrot"
    assert [row["is_chosen"] for row in explained["placements"]] == [True, False]
    assert any(device["id"] == "cpu" for device in listing["devices"])


def test_explain_fails_for_a_model_without_a_place(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("explain", "big/one", "-c", str(parrot))
    assert done.code == 1
    assert "it needs apple or" in done.out or "apple" in done.out
    assert done.err == "Error: 'big/one' has no place on this host.\n"


def test_an_unknown_model_is_refused_with_those_there_are(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("explain", "polly", "-c", str(parrot))
    assert done.code == 2
    assert "There are: parrot, big/one." in done.err


def test_config_check_says_what_is_fine_and_what_has_no_place(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("config", "check", str(parrot))
    assert done.code == 0
    assert done.out == f"{parrot} is fine: 2 models, 0 keys.\n"
    assert "big/one: no place on this host" in done.err
