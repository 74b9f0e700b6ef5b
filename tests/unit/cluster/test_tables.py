"""What a plan has decided goes to a node as a table, and is there what it was here."""

from __future__ import annotations

import msgspec

from enginehouse.cluster.messages import Order, Spec
from enginehouse.cluster.tables import bound, house_of, on_node, table_of, those
from enginehouse_plugin import BackendType, Device, Placement


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slots: int = 4
    file: str | None = None


BACKENDS = {
    "e": BackendType(name="e", version="1", create=lambda: None, options=Options, kinds=("cpu",), needs_weights=True)
}
CPU = Device(id="cpu", kind="cpu", name="CPU", memory_bytes=1)


def a_placement(**more) -> Placement:
    given = {"model": "m", "backend": "e", "source": "/weights/m.gguf", "options": Options(slots=2)}
    return Placement(**given | more)


def test_a_placement_is_the_same_on_the_node():
    for placement in (a_placement(), a_placement(context_tokens=8, task="embed", dimensions=(4, 2))):
        spec = Spec(model="m", table=table_of(placement, "cpu", 1), devices=("cpu",))
        spec = msgspec.json.decode(msgspec.json.encode(spec), type=Spec)
        there = on_node(spec, bound(spec, BACKENDS), "/weights/m.gguf")
        assert there == msgspec.structs.replace(placement, path="/weights/m.gguf")


def test_its_server_takes_the_clusters_key_alone():
    spec = Spec(model="m", table=table_of(a_placement(), "cpu", 1), devices=("cpu",), trust="proven")
    config = house_of(Order(spec=spec, host="10.0.0.1", key_sha256="0" * 64), BACKENDS)
    assert (config.server.host, config.server.port, config.trust) == ("10.0.0.1", 0, "proven")
    assert [key.sha256 for key in config.keys] == ["0" * 64]
    assert not config.server.allow_unauthenticated
    assert config.models["m"].placements[0].requires == ("cpu",)


def test_devices_are_those_that_are_named():
    gpu = Device(id="cuda:0", kind="cuda", name="GPU", memory_bytes=1)
    assert those((gpu, CPU), ("cpu",)) == (CPU,)
    assert those((CPU,), ("cuda:0",)) == ()
