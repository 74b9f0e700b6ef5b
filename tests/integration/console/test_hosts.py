"""Other hosts in a browser: how full their devices are, and one that sleeps is woken."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect
from tests.integration.served import Served

from enginehouse.fleet import magic_packet

from .conftest import AXE, MODELS, OPEN, Look, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

MARKUP = "<img src=x onerror=fell()>"
MAC = "02:00:5e:10:00:01"


@pytest.fixture(scope="module")
def network() -> Iterator[socket.socket]:
    """Where packets for sleeping machines arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(20)
        yield heard


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """The URL of a host that tells of itself what no host would."""
    memory = {"free_bytes": -5, "others_bytes": 1 << 60, "reserved_bytes": 3, "measured_bytes": 1 << 62}
    device = {"id": MARKUP, "name": MARKUP, "memory_bytes": 0, "memory": memory}
    devices = [device, *({**device, "id": f"cuda:{at}"} for at in range(99))]
    told = {"version": 1, "enginehouse": MARKUP, "router": "r", "state": "ready", "devices": devices}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def town(start: Callable[[str], Served], network: socket.socket, hostile: str) -> Served:
    """A house beside a host that is there, one that sleeps, one to which no packet can be sent, and a hostile one."""
    other = start(OPEN)
    with socket.socket() as held:  # a port where nobody listens
        held.bind(("127.0.0.1", 0))
        nobody = held.getsockname()[1]
    port = network.getsockname()[1]
    return start(f"""[server]
port = 0
{MODELS}
[hosts.paris]
url = "{other.url}"

[hosts.tokyo]
url = "http://127.0.0.1:{nobody}"
wake = "{MAC}"
wake_to = "127.0.0.1:{port}"
wake_timeout_s = 4.0

[hosts.hostile]
url = "{hostile}"

[hosts.lost]
url = "http://127.0.0.1:{nobody}"
wake = "{MAC}"
wake_to = "127.0.0.1:0"
""")


def test_what_a_host_tells_is_a_text(look: Look, town: Served) -> None:
    page = look.open(town)
    expect(card(page, "hostile")).to_contain_text(f"version {MARKUP}")
    bar = card(page, "hostile").get_by_role("img", name=f"Memory of {MARKUP} at hostile")
    expect(bar).to_be_visible()
    expect(card(page, "hostile")).to_contain_text("and 84 devices more")
    assert page.locator("img[src=x]").count() == 0


def card(page: Page, host: str) -> Locator:
    return page.locator("li.card").filter(has=page.get_by_role("heading", name=host))


def test_the_memory_of_another_host_is_a_bar(look: Look, town: Served) -> None:
    page = look.open(town)
    expect(card(page, "paris")).to_contain_text("up")
    bar = page.get_by_role("img", name="Memory of cpu at paris")
    expect(bar).to_have_attribute(
        "aria-label", re.compile(r"in use \S+ \S+, reserved \S+ \S+, others \S+ \S+, kept free \S+ \S+, free \S+ \S+")
    )
    expect(card(page, "paris").locator(".legend")).to_contain_text("in use")
    expect(card(page, "tokyo").get_by_role("img")).to_have_count(0)


def test_a_host_that_sleeps_is_woken_and_says_so_when_it_was_not(
    look: Look, town: Served, network: socket.socket
) -> None:
    page = look.open(town)
    wake = page.get_by_role("button", name="Wake tokyo", exact=True)
    wake.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"a packet for {MAC} goes to 127.0.0.1:")
    expect(dialog).to_contain_text("every 3 s, until it answers or 4 s are over")
    page.keyboard.press("Escape")
    expect(wake).to_be_focused()
    network.setblocking(False)
    with pytest.raises(BlockingIOError):  # nothing is sent before it is said
        network.recv(1024)
    network.settimeout(20)
    wake.click()
    dialog.get_by_role("button", name="Wake", exact=True).click()
    expect(dialog).to_have_count(0)
    assert network.recv(1024) == magic_packet(MAC)
    expect(card(page, "tokyo")).to_contain_text("It is woken…")
    expect(card(page, "tokyo")).to_contain_text("Not woken: it did not wake within 4 s")
    expect(wake).to_be_visible()


def test_a_refusal_to_wake_is_shown(look: Look, town: Served) -> None:
    look.allowed = ("status of 409",)
    page = look.open(town)
    page.get_by_role("button", name="Wake lost", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Wake", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("no packet can be sent to 127.0.0.1:0")


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [("paris", 409, "host_not_woken"), ("nowhere", 404, "host_not_found")],
)
def test_what_cannot_be_woken_is_refused(town: Served, host: str, status: int, code: str) -> None:
    own = {"x-enginehouse-console": "1"}
    answer = httpx.post(f"{town.url}/admin/hosts/wake", json={"host": host}, headers=own, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    stranger = httpx.post(f"{town.url}/admin/hosts/wake", json={"host": "tokyo"}, trust_env=False)
    assert stranger.status_code == 403
    elsewhere = own | {"origin": "http://evil.example"}
    answer = httpx.post(f"{town.url}/admin/hosts/wake", json={"host": "tokyo"}, headers=elsewhere, trust_env=False)
    assert answer.json()["error"]["code"] == "origin_not_allowed"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_is_accessible_and_pictured(browser: Browser, town: Served, pictures: Path, colours: str) -> None:
    if not AXE.exists():
        pytest.skip("needs axe-core: make console")
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=colours)  # type: ignore[arg-type]
    look = Look(context)
    page = look.open(town)
    expect(card(page, "paris").get_by_role("img")).to_be_visible()
    page.get_by_role("button", name="Wake tokyo", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("a packet for")
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert violations(page) == []
    page.screenshot(path=pictures / f"hosts-{colours}.png", full_page=True)
    look.check()
    context.close()
