"""Hosts that announce themselves on this machine's loopback: used where the file names them, else shown."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from tests.hosts.machines import KEY, Machine, closing, until
from tests.siege.house import free_port
from tests.siege.upstream import script, upstream

from enginehouse.accounts import hash_secret

pytest.importorskip("zeroconf", reason="install zeroconf, which the extra mdns brings")

RUN = secrets.token_hex(4)  # others on this machine may announce themselves, too


def file(name: str, port: int, hosts: str = "") -> str:
    key = f'[[keys]]\nname = "fleet"\nadmin = true\nsha256 = "{hash_secret(KEY)}"\n'
    mdns = f'[mdns]\nannounce = true\ndiscover = true\nname = "{name}-{RUN}"\n'
    models = "".join(
        f'[models.of-{on}]\nplacements = [{{ backend = "{on}", source = "x", options = {{ port = {port} }} }}]\n'
        for on in ("paris", "tokyo")
    )
    return f"{key}{mdns}{hosts}{models}"


async def test_a_host_is_used_where_it_is_found_and_one_that_no_file_names_is_shown(tmp_path: Path) -> None:
    paris, tokyo = (
        Machine(name, tmp_path / name, ("127.0.0.1", free_port()), [f"scripted-{name}", "upstream"])
        for name in ("paris", "tokyo")
    )
    async with upstream() as engine, closing([paris, tokyo]):
        named = f'[hosts.capital]\nurl = "mdns:paris-{RUN}"\nkey_env = "FLEET_KEY"\n'
        await paris.start(file("paris", engine.port))
        await tokyo.start(file("tokyo", engine.port, named))

        async def serves() -> bool:
            return (await tokyo.states()).get("of-paris") == "ready"

        await until(serves, f"tokyo has found paris\n{tokyo.log()[-3000:]}")
        assert (await tokyo.ask(script(1, 3) | {"model": "of-paris"})).status == 200
        assert engine.asked.get(1) == 1

        async def is_shown() -> bool:
            return (await paris.host_states()).get(f"tokyo-{RUN}") == "found"

        await until(is_shown, f"paris has found tokyo\n{paris.log()[-3000:]}")
        shown = {host["name"]: host for host in (await paris.get("/admin/hosts"))["hosts"]}
        url = f"http://127.0.0.1:{tokyo.address[1]}"
        assert shown[f"tokyo-{RUN}"]["reason"] == f"not in the file: enginehouse hosts add tokyo-{RUN} {url}"
        assert f"paris-{RUN}" not in shown, "it is itself"
        assert f"paris-{RUN}" not in await tokyo.host_states(), "the file has it"
        assert (await paris.states()).get("of-tokyo") != "ready", "nothing is sent to one that is only found"

        await paris.kill()
        paris.address = ("127.0.0.1", free_port())
        await paris.start(file("paris", engine.port))

        async def has_moved() -> bool:
            hosts = (await tokyo.get("/admin/hosts"))["hosts"]
            known = {host["name"]: (host["state"], host["url"]) for host in hosts}
            return known["capital"] == ("up", f"http://127.0.0.1:{paris.address[1]}") and await serves()

        await until(has_moved, f"tokyo has found paris elsewhere\n{tokyo.log()[-3000:]}")
        assert (await tokyo.ask(script(2, 3) | {"model": "of-paris"})).status == 200
