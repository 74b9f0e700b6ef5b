"""Hosts that announce themselves on this machine's loopback: used where the file names them, else shown."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.hosts.machines import KEY, Machine, closing, until
from tests.programs import free_port
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


@contextlib.asynccontextmanager
async def impostor(name: str, asks: tuple[str, int]) -> AsyncIterator[tuple[str, bytearray]]:
    """Announces *name*, and hands all that comes on to the host that *asks*; gives its URL and what has come."""
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    from enginehouse.fleet.hosts.mdns import SERVICE

    received = bytearray()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection(*asks)

        async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter, kept: bytearray) -> None:
            while data := await source.read(65536):
                kept.extend(data)
                to.write(data)
            to.close()

        await asyncio.gather(carry(reader, to_there, received), carry(there, writer, bytearray()))

    server = await asyncio.start_server(hand_on, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
    told: dict[str, Any] = {"port": port, "parsed_addresses": ["127.0.0.1"], "server": f"impostor-{RUN}.local."}
    info = AsyncServiceInfo(SERVICE, f"{name}.{SERVICE}", properties={"scheme": "http", "router": "x"}, **told)
    try:
        await (await zeroconf.async_register_service(info))
        yield f"http://127.0.0.1:{port}", received
    finally:
        await zeroconf.async_unregister_all_services()
        await zeroconf.async_close()
        server.close()


async def test_a_host_is_used_where_it_is_found_and_one_that_no_file_names_is_shown(tmp_path: Path) -> None:
    paris, tokyo = (
        Machine(name, tmp_path / name, ("127.0.0.1", free_port()), [f"scripted-{name}", "upstream"])
        for name in ("paris", "tokyo")
    )
    async with upstream() as engine, closing([paris, tokyo]):
        named = "".join(
            f'[hosts.{name}]\nurl = "mdns:{town}-{RUN}"\nkey_env = "FLEET_KEY"\n'
            for name, town in (("capital", "paris"), ("this", "tokyo"))
        )
        await tokyo.start(file("tokyo", engine.port, named))

        async def knows() -> dict[str, Any]:
            return {host["name"]: host for host in (await tokyo.get("/admin/hosts") or {"hosts": []})["hosts"]}

        async with impostor(f"paris-{RUN}", tokyo.address) as (url, received):

            async def is_doubted() -> bool:
                return (await tokyo.host_states()).get("capital") == "incompatible"

            await until(is_doubted, f"tokyo has found the impostor\n{tokyo.log()[-3000:]}")
            told = f"what announces itself as 'paris-{RUN}' at {url} cannot prove that it is: its proof is wrong"
            assert (await knows())["capital"]["reason"].startswith(told)
            assert received.startswith(b"GET /hosts/proof?key=")
            assert received.count(b"GET ") == received.count(b"GET /hosts/proof?")
            assert b"authorization" not in received.lower()
            assert KEY.encode() not in received

        await paris.start(file("paris", engine.port))

        async def serves() -> bool:
            return (await tokyo.states()).get("of-paris") == "ready"

        await until(serves, f"tokyo has found paris\n{tokyo.log()[-3000:]}")
        assert (await tokyo.ask(script(1, 3) | {"model": "of-paris"})).status == 200
        assert engine.asked.get(1) == 1

        async def is_shown() -> bool:
            return (await paris.host_states()).get(f"tokyo-{RUN}") == "found"

        await until(is_shown, f"paris has found tokyo\n{paris.log()[-3000:]}")
        shown = {host["name"]: host for host in (await paris.get("/admin/hosts"))["hosts"]}
        told = f'not in the file; it can be added with url = "mdns:tokyo-{RUN}" and its key'
        assert shown[f"tokyo-{RUN}"]["reason"] == told
        assert shown[f"tokyo-{RUN}"]["url"] == f"http://127.0.0.1:{tokyo.address[1]}"
        assert f"paris-{RUN}" not in shown, "it is itself"
        assert f"paris-{RUN}" not in await knows(), "the file has it"
        assert (await knows())["this"]["state"] == "self"
        assert (await paris.states()).get("of-tokyo") != "ready", "nothing is sent to one that is only found"

        await paris.kill()
        paris.address = ("127.0.0.1", free_port())
        await paris.start(file("paris", engine.port))

        async def has_moved() -> bool:
            capital = (await knows()).get("capital", {})
            at = f"http://127.0.0.1:{paris.address[1]}"
            return (capital.get("state"), capital.get("url")) == ("up", at) and await serves()

        await until(has_moved, f"tokyo has found paris elsewhere\n{tokyo.log()[-3000:]}")
        assert (await tokyo.ask(script(2, 3) | {"model": "of-paris"})).status == 200
