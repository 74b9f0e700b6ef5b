"""What threads decode is known to msgspec before: two that look at the fields of a struct at once crash it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SPOILT = """
import importlib, sys
import msgspec

def spoil(kind):
    for each in kind.__subclasses__():
        if each.__module__.startswith("enginehouse"):
            each.__annotations__ = dict.fromkeys(each.__annotations__, "nobody_has_this_name")
            spoil(each)

kinds = [getattr(importlib.import_module(module), name) for module, name in map(str.split, sys.argv[1:])]
spoil(msgspec.Struct)
for kind in kinds:
    try:
        msgspec.json.decode(b"0", type=kind)
    except msgspec.ValidationError:
        print(kind.__name__, "is known")
    except NameError:
        print(kind.__name__, "is not known")
"""
"""Whose fields msgspec has looked at needs no annotations any more."""


def told(*kinds: str) -> list[str]:
    """What a process of its own says of *kinds*, each a module and a name, once their modules are there."""
    done = subprocess.run(
        [sys.executable, "-c", SPOILT, *kinds], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("enginehouse.certificates.certificate", ["Certificate"]),
        ("enginehouse.certificates.digests", ["_Known"]),
        ("enginehouse.certificates.folder", ["_Version"]),
        ("enginehouse.certificates.runs", ["_Head"]),
        ("enginehouse.weights.held", ["Held"]),
        ("enginehouse.weights.hub", ["Snapshot"]),
        ("enginehouse_conformance.identity.taking", ["Fingerprint", "_Version"]),
        ("enginehouse_conformance.report", ["_Version"]),
        ("enginehouse_conformance.results", ["Report"]),
        ("enginehouse_llamacpp.devices", ["_Listed"]),
        ("enginehouse_mlx.weights", ["TensorInfo", "_Index"]),
        ("enginehouse_vllm.checkpoint", ["_Tensor", "_Added"]),
        ("enginehouse_vllm.vocabulary", ["_Tokenizer"]),
    ],
)
def test_what_threads_decode_is_known_once_its_module_is_there(module: str, names: list[str]) -> None:
    assert told(*(f"{module} {name}" for name in names)) == [f"{name} is known" for name in names]


def test_what_was_not_looked_at_is_told_apart() -> None:
    assert told("enginehouse.cluster.node RunningNode") == ["RunningNode is not known"]
