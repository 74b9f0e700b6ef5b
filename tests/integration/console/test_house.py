"""The house in a browser: what it shows, that it is live, and each order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import expect
from tests.integration.served import Served

from .conftest import HOSTILE_NAME, Look

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def row(page: Page, instance: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=instance, exact=False))


def give(page: Page, order: str, instance: str, *, sees: str) -> None:
    """Give an order, which says before what it comes to: *sees*."""
    page.get_by_role("button", name=f"{order} {instance}", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(sees)
    dialog.get_by_role("button", name=order, exact=True).click()
    expect(dialog).to_have_count(0)


def test_it_shows_hosts_memory_and_instances(look: Look, house: Served) -> None:
    page = look.open(house)
    expect(page.get_by_role("heading", name="This host")).to_be_visible()
    expect(page.get_by_role("img", name="Memory of cpu")).to_have_attribute("aria-label", re.compile("others .* free"))
    small = row(page, "small#0")
    expect(small).to_contain_text("ready")
    expect(small).to_contain_text("0/4")
    expect(small).to_contain_text("16.0 MiB")
    expect(row(page, "large#0")).to_contain_text("unloaded")
    expect(page.get_by_text("nowhere: placement 0")).to_be_visible()


def test_a_name_that_is_markup_is_a_text(look: Look, house: Served) -> None:
    page = look.open(house)
    expect(row(page, HOSTILE_NAME)).to_contain_text("ready")
    assert page.locator("img[src=x]").count() == 0


def test_orders_say_what_they_come_to_and_are_carried_out_live(look: Look, house: Served) -> None:
    page = look.open(house)
    give(page, "Load", "large#0", sees="it fits beside what is loaded")
    expect(row(page, "large#0")).to_contain_text("reading weights")
    expect(row(page, "large#0")).to_contain_text("600 MiB")
    expect(row(page, "large#0")).to_contain_text("ready")
    give(page, "Load", "larger#0", sees="For it gives way: large#0")
    expect(row(page, "large#0")).to_contain_text("unloaded")
    expect(row(page, "larger#0")).to_contain_text("ready")
    give(page, "Pin", "larger#0", sees="nothing that needs its memory takes it")
    expect(row(page, "larger#0")).to_contain_text("pinned")
    page.get_by_role("button", name="Load large#0").click()
    expect(page.get_by_role("dialog")).to_contain_text("pinned, or belongs to others")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    give(page, "Unpin", "larger#0", sees="What needs its memory may take it")
    give(page, "Drain", "larger#0", sees="nothing runs there")
    expect(row(page, "larger#0")).to_contain_text("taken out")
    give(page, "Load", "larger#0", sees="it fits")
    expect(row(page, "larger#0")).to_contain_text("ready")
    give(page, "Unload", "larger#0", sees="nothing runs there")
    expect(row(page, "larger#0")).to_contain_text("unloaded")


def test_an_order_says_what_runs(look: Look, house: Served) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": "endless"}], "stream": True}
    page = look.open(house)
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("POST", f"{house.url}/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        expect(row(page, "small#0")).to_contain_text("1/4")
        expect(page.get_by_label("KV cache of small#0")).to_have_attribute("value", "0.25")
        page.get_by_role("button", name="Unload small#0").click()
        expect(page.get_by_role("dialog")).to_contain_text("1 runs, and may end first")
        page.get_by_role("button", name="Leave it").click()
    expect(row(page, "small#0")).to_contain_text("0/4")
    expect(page.get_by_label("KV cache of small#0")).to_have_attribute("value", "0")


def test_instances_are_found_by_name_and_state(look: Look, house: Served) -> None:
    page = look.open(house)
    expect(row(page, "small#0")).to_be_visible()
    page.get_by_label("Find").fill("plain")
    expect(page.locator("table.instances tbody tr")).to_have_count(1)
    page.get_by_label("Find").fill("")
    page.get_by_label("State").select_option("unloaded")
    expect(row(page, "small#0")).to_have_count(0)
    expect(row(page, "large#0")).to_be_visible()
