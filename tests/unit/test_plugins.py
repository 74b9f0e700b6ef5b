"""Plugins are loaded, checked and called so that no fault in one reaches another."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import msgspec
import pytest

from enginehouse.dialects.profiles import built_in
from enginehouse.plugins import Plugins
from enginehouse_plugin import (
    API_VERSION,
    BackendType,
    Candidate,
    Device,
    InstanceChange,
    Profile,
    RequestFacts,
    hookimpl,
)

from .conftest import a_request


class NoOptions(msgspec.Struct, frozen=True):
    """None."""


def a_backend(name: str) -> BackendType:
    return BackendType(name=name, version="1", create=lambda: None, options=NoOptions)


def a_candidate(name: str) -> Candidate:
    return Candidate(
        instance_id=name, model="m", backend="b", device_ids=(), running=0, waiting=0, max_concurrent_requests=1
    )


CHANGE = InstanceChange(instance_id="i", model="m", backend="b", before="loading", after="ready", reason="", at=0.0)
FACTS = RequestFacts(
    request_id="r", model="m", instance_id="i", key=None, status=200, is_stream=False, is_cancelled=False, ttft_s=None,
    duration_s=1.0, prompt_tokens=1, cached_tokens=0, completion_tokens=1, finish_reasons=("stop",), error_code=None,
)  # fmt: skip


class Good:
    enginehouse_api = API_VERSION

    def __init__(self, name: str = "good") -> None:
        self.name = name

    @hookimpl
    def enginehouse_backends(self):
        return [a_backend(self.name)]


def loaded(*plugins: object) -> Plugins:
    made = Plugins()
    for at, plugin in enumerate(plugins):
        made.add(plugin, f"plugin{at}")
    return made


# ---- loading ----


def test_a_good_plugin_takes_part():
    plugins = loaded(Good())
    assert plugins.backends["good"].name == "good"
    assert plugins.quarantined == []
    assert [(plugin.hooks, plugin.backends, plugin.api) for plugin in plugins.loaded] == [
        (("enginehouse_backends",), ("good",), API_VERSION)
    ]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module and return an entry point to it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> EntryPoint:
        (tmp_path / f"{name}.py").write_text(text)
        return EntryPoint(name=name, value=name, group="enginehouse.plugins")

    yield write
    for name in [name for name in sys.modules if name.startswith("eh_test_")]:
        del sys.modules[name]


def test_plugins_come_from_entry_points(module):
    point = module(
        "eh_test_profiles",
        f"""
from enginehouse_plugin import Profile, hookimpl

enginehouse_api = "{API_VERSION}"

@hookimpl
def enginehouse_profiles():
    return [Profile(name="terse", max_tokens_must_fit=True)]
""",
    )
    plugins = Plugins.load([point])
    assert plugins.profiles["terse"].max_tokens_must_fit


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import engine_that_is_not_here", "ModuleNotFoundError: No module named 'engine_that_is_not_here'"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_plugin_that_does_not_import_is_quarantined_and_the_others_load(module, text, reason):
    broken, good = module("eh_test_broken", text), module("eh_test_good", 'enginehouse_api = "2.0"')
    plugins = Plugins.load([broken, good])
    assert [plugin.name for plugin in plugins.loaded] == ["eh_test_good"]
    assert reason in plugins.quarantined[0].reason


def test_the_installed_plugins_load():
    assert Plugins.load().quarantined == []


@pytest.mark.parametrize(
    ("version", "reason", "offered"),
    [
        ("3.0", "built for another version", "3.0"),
        ("0.9", "built for another version", "0.9"),
        ("2.999", "built for another version", "2.999"),
        ("one", "cannot be read", "'one'"),
        (None, "does not say for which API", "nothing"),
    ],
)
def test_a_plugin_for_another_api_is_quarantined_with_what_was_wanted_and_offered(version, reason, offered, logs):
    class Other(Good):
        enginehouse_api = version

    plugins = loaded(Other())
    assert plugins.backends == {}
    quarantined = plugins.quarantined[0]
    assert reason in quarantined.reason
    assert API_VERSION in quarantined.wanted
    assert quarantined.offered == offered
    assert [(line["event"], line["wanted"], line["offered"]) for line in logs] == [
        ("plugin quarantined", quarantined.wanted, offered)
    ]
    assert reason in plugins.refusals()["plugin0"]


def test_a_plugin_for_1_x_hears_what_to_change():
    class Old(Good):
        enginehouse_api = "1.0"

    (quarantined,) = loaded(Old()).quarantined
    for word in (
        "enginehouse_kit",
        "RequestFacts",
        "prompt_tokens",
        "start",
        "generate",
        f'enginehouse_api = "{API_VERSION}"',
    ):
        assert word in quarantined.wanted


@pytest.mark.parametrize("line", ["from enginehouse_plugin import RequestRecord", "import enginehouse_plugin.hosting"])
def test_a_plugin_that_imports_a_name_of_1_x_hears_what_to_change(line, module):
    plugins = Plugins.load([module("eh_test_old", f'{line}\nenginehouse_api = "1.0"')])
    assert "enginehouse_kit" in plugins.quarantined[0].wanted


class Misspelt(Good):
    @hookimpl
    def enginehouse_device(self):
        return []


class MisspeltElsewhere(Good):
    @hookimpl(specname="enginehouse_divices")
    def devices(self):
        return []


class UnknownArgument(Good):
    @hookimpl
    def enginehouse_request_finished(self, facts, cost):
        return None


class Unmarked(Good):
    def enginehouse_devices(self):
        return []


class Wrapping(Good):
    @hookimpl(wrapper=True)
    def enginehouse_devices(self):
        return (yield)


class Raising(Good):
    @hookimpl
    def enginehouse_backends(self):
        raise OSError("no disk")


class WrongResult(Good):
    @hookimpl
    def enginehouse_backends(self):
        return ["llama"]


class RaisingProfiles(Good):
    @hookimpl
    def enginehouse_profiles(self):
        raise OSError("no disk")


class NoResult(Good):
    @hookimpl
    def enginehouse_backends(self):
        return None


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Misspelt, "'enginehouse_device' is not a hook"),
        (MisspeltElsewhere, "'enginehouse_divices' is not a hook"),
        (UnknownArgument, "'enginehouse_request_finished' has no argument 'cost'"),
        (Unmarked, "'enginehouse_devices' is not marked as a hook"),
        (Wrapping, "'enginehouse_devices' is a wrapper"),
        (Raising, "'enginehouse_backends' failed: OSError: no disk"),
        (RaisingProfiles, "'enginehouse_profiles' failed: OSError: no disk"),
        (WrongResult, "it offers what is no backend"),
        (NoResult, "'enginehouse_backends' failed: TypeError"),
    ],
)
def test_a_plugin_with_a_fault_is_quarantined_whole_and_the_others_go_on(plugin, reason):
    plugins = loaded(Good("first"), plugin(), Good("last"))
    assert sorted(plugins.backends) == ["first", "last"]
    assert reason in plugins.quarantined[0].reason
    plugins.request_finished(FACTS)
    assert plugins.devices() == ()
    assert [plugin.name for plugin in plugins.loaded] == ["plugin0", "plugin2"]


def test_a_backend_name_that_is_taken_is_refused():
    plugins = loaded(Good("same"), Good("same"))
    assert plugins.loaded[0].backends == ("same",)
    assert "'same' is offered already" in plugins.quarantined[0].reason


def test_a_profile_of_the_routers_own_name_is_refused():
    class Own(Good):
        @hookimpl
        def enginehouse_profiles(self):
            return [Profile(name="openai", unsupported="report")]

    plugins = Plugins(built_in())
    plugins.add(Own("a"), "own")
    assert plugins.profiles == built_in()
    assert "the profile 'openai' is offered already" in plugins.quarantined[0].reason
    assert plugins.backends == {}


def test_one_plugin_cannot_offer_a_name_twice():
    class Twice(Good):
        @hookimpl
        def enginehouse_backends(self):
            return [a_backend("x"), a_backend("x")]

    assert loaded(Twice()).backends == {}


def test_two_plugins_of_one_name_are_told_apart():
    plugins = Plugins()
    plugins.add(Good("a"), "same")
    plugins.add(Good("b"), "same")
    assert list(plugins.backends) == ["a"]
    assert plugins.quarantined[0].wanted == "one plugin of that name"


# ---- calling ----


class Loud(Good):
    """Raises in every hook but those that are called on loading."""

    def __init__(self) -> None:
        super().__init__("loud")

    @hookimpl
    def enginehouse_devices(self):
        raise OSError("boom")

    @hookimpl
    def enginehouse_select(self, request, candidates):
        raise OSError("boom")

    @hookimpl
    def enginehouse_instance_changed(self, change):
        raise OSError("boom")

    @hookimpl
    def enginehouse_request_finished(self, facts):
        raise OSError("boom")

    @hookimpl
    def enginehouse_cli(self, group):
        raise OSError("boom")


class Useful(Good):
    def __init__(self) -> None:
        super().__init__("useful")
        self.seen: list[object] = []

    @hookimpl
    def enginehouse_devices(self):
        return [Device(id="npu:0", kind="cpu", name="NPU", memory_bytes=1)]

    @hookimpl
    def enginehouse_profiles(self):
        return [Profile(name="terse")]

    @hookimpl
    def enginehouse_select(self, candidates):
        return candidates[-1].instance_id

    @hookimpl
    def enginehouse_instance_changed(self, change):
        self.seen.append(change)

    @hookimpl
    def enginehouse_request_finished(self, facts):
        self.seen.append(facts)

    @hookimpl
    def enginehouse_cli(self, group):
        self.seen.append(group)


@pytest.mark.parametrize("is_loud_first", [True, False])
def test_an_implementation_that_raises_does_not_stop_the_others(is_loud_first):
    useful = Useful()
    plugins = loaded(Loud(), useful) if is_loud_first else loaded(useful, Loud())
    assert [device.id for device in plugins.devices()] == ["npu:0"]
    assert list(plugins.profiles) == ["terse"]
    assert plugins.select(a_request(), [a_candidate("a"), a_candidate("b")]) == "b"
    plugins.instance_changed(CHANGE)
    plugins.request_finished(FACTS)
    plugins.cli("group")
    assert useful.seen == [CHANGE, FACTS, "group"]


def test_a_faulty_hook_is_logged_once(logs):
    plugins = loaded(Loud())
    for _ in range(5):
        plugins.request_finished(FACTS)
    plugins.instance_changed(CHANGE)
    assert [(line["hook"], line["problem"]) for line in logs] == [
        ("enginehouse_request_finished", "OSError: boom"),
        ("enginehouse_instance_changed", "OSError: boom"),
    ]


def test_a_choice_that_is_no_candidate_is_ignored(logs):
    class Wild(Good):
        @hookimpl
        def enginehouse_select(self):
            return "nobody"

    assert loaded(Wild()).select(a_request(), [a_candidate("a")]) is None
    assert "nobody" in logs[0]["problem"]


def test_a_result_of_another_type_is_left_out(logs):
    class Odd(Good):
        @hookimpl
        def enginehouse_devices(self):
            return ["gpu"]

    assert loaded(Odd()).devices() == ()
    assert "str instead of Device" in logs[0]["problem"]


def test_it_is_known_beforehand_whether_a_hook_has_any_implementation():
    assert not loaded(Good()).has_selectors
    assert not loaded(Good()).has_request_observers
    assert loaded(Useful()).has_selectors
    assert loaded(Useful()).has_request_observers
