"""What a placement requires, and which backends and hosts it is for."""

from __future__ import annotations

import pytest
from tests.unit.config.reading import MODEL, a_backend, refusal


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('min_memory = "16 apples"', "`min_memory`: '16 apples' is no size: write a number and a unit"),
        ('min_memory = "16gib"', "'16gib' is no size"),
        ('min_memory = "GiB"', "'GiB' is no size"),
        ('min_memory = "-1GB"', "'-1GB' is no size"),
        ('min_memory = "0GB"', "no size above zero"),
        ("min_memory = 16", "`min_memory`: '16.0' is no size: write a number and a unit (MB, GB, TB, MiB, GiB, TiB)"),
        ("min_memory = 80e9", 'such as "16GiB"'),
        ("min_memory = true", "placements[0].min_memory: expected a string or a number"),
        (f'min_memory = "{10**400}GB"', "is no size"),
        ('min_memory = "٣GB"', "is no size"),
        ("min_compute_capability = 89", "expected a number < 30.0"),
        ('min_compute_capability = "8.0"', "min_compute_capability: expected a number"),
        ("min_compute_capability = 0", "min_compute_capability: expected a number >= 1"),
        ("min_compute_capability = 8.95", "it has one digit behind the point, such as 8.9"),
        ('min_compute_capability = 8.0\nrequires = ["apple"]', 'write requires = ["cuda"]'),
        ('min_compute_capability = 8.0\nrequires = ["cuda", "cpu"]', 'write requires = ["cuda"]'),
        ("devices = 0", "placements[0].devices: expected a whole number >= 1"),
        ("devices = 65", "placements[0].devices: expected a whole number <= 64"),
        ("devices = 1.5", "placements[0].devices: expected a whole number"),
        ('requires = ["cpu", "cpu"]', "`requires` names a kind twice: cpu, cpu"),
    ],
)
def test_a_requirement_that_cannot_be_read_is_refused_with_its_key(read, line, problem):
    text = refusal(read, f"{MODEL}{line}\n")
    assert problem in text
    assert 'models."a/b".placements[0]' in text


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        ("16GiB", 16 << 30),
        ("24GB", 24_000_000_000),
        ("1.5 TB", 1_500_000_000_000),
        ("512MiB", 512 << 20),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_have_units(read, size, n_bytes):
    assert read(f'{MODEL}min_memory = "{size}"').models["a/b"].placements[0].min_memory_bytes == n_bytes


@pytest.mark.parametrize(
    ("written", "capability"), [("8", (8, 0)), ("8.0", (8, 0)), ("8.9", (8, 9)), ("12.1", (12, 1))]
)
def test_a_compute_capability_is_read_as_drivers_give_it(read, written, capability):
    placement = read(f"{MODEL}min_compute_capability = {written}").models["a/b"].placements[0]
    assert placement.min_capability == capability


SECOND = '[[models."a/b".placements]]\nbackend = "{}"\nsource = "weights"\noptions = {{ anything = 1 }}\n'


@pytest.mark.parametrize("backend", ["vllm", "mlx", "somebodys-own"])
def test_a_placement_for_hosts_with_another_plugin_stays_as_it_was_read(read, backend):
    config = read(MODEL + SECOND.format(backend), quarantined={})
    assert config.models["a/b"].placements[1].options == {"anything": 1}


@pytest.mark.parametrize("backend", ["tyo", "vlm", "lamacpp"])
def test_a_backend_that_looks_misspelt_is_refused_beside_one_that_is_here(read, backend):
    assert f"no plugin offers the backend '{backend}'" in refusal(read, MODEL + SECOND.format(backend), quarantined={})


def test_a_file_of_which_no_backend_is_installed_here_may_be_of_other_hosts(read):
    """Engines that are known serve elsewhere; with no plugin at all there is nothing that could ever serve."""
    text = MODEL.replace('"toy"', '"vllm"')
    assert read(text, quarantined={}).models["a/b"].placements[0].backend == "vllm"
    assert "no plugin offers the backend 'vllm'" in refusal(read, text, backends={})
    assert "no plugin offers the backend 'other'" in refusal(read, MODEL.replace('"toy"', '"other"'), quarantined={})


def test_a_known_engine_whose_plugin_was_refused_stops_the_start(read):
    text = refusal(read, MODEL + SECOND.format("vllm"), quarantined={"vllm": "built for 9.0"})
    assert "the plugin 'vllm' was refused: built for 9.0" in text


def test_a_backend_without_devices_cannot_take_two(read):
    text = refusal(read, f"{MODEL}devices = 2", backends={"toy": a_backend(kinds=())})
    assert text.startswith("FILE: models.\"a/b\".placements[0].devices: the backend 'toy' takes no device")
