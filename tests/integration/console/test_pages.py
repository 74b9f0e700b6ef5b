"""Explain, requests, keys; login and refusal; what holds on every page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect
from tests.integration.served import Served

from .conftest import AXE, HOSTILE_NAME, KEY, MODELS, Look, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PLACES = {
    "house": "House",
    "playground": "Playground",
    "explain": "Explain",
    "requests": "Requests and usage",
    "proof": "Proof",
}


def named(name: str, key: str, rest: str = "") -> str:
    return f'\n[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n{rest}'


LOCKED = (
    '[server]\nport = 0\n[accounts]\nurl = "sqlite:///accounts.db"\nkeys = true\n'
    + MODELS
    + named("owner", KEY, "admin = true\n")
    + named("user", "a-user")
)


@pytest.fixture(scope="module")
def locked_house(start: Callable[[str], Served]) -> Served:
    """A house with keys that are kept in a database."""
    return start(LOCKED)


def asked(served: Served, model: str = "small", key: str | None = None, **fields: object) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "a secret of mine"}], **fields}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    return answer.status_code


def log_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


# ---- explain ----


def test_candidates_and_fields_are_explained(look: Look, house: Served) -> None:
    page = look.open(house, "explain")
    box = page.get_by_label("Request", exact=True)
    expect(box).not_to_have_value("")
    page.get_by_label("Take").select_option("a seed")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("heading", name="It goes to")).to_be_visible()
    expect(page.get_by_role("row", name="seed seed")).to_be_visible()
    expect(page.get_by_role("row", name="Honoured")).to_contain_text("seed")
    expect(page.get_by_text("chosen", exact=True)).to_be_visible()


def test_a_request_that_nobody_can_take_is_explained(look: Look, house: Served) -> None:
    page = look.open(house, "explain")
    box = page.get_by_label("Request", exact=True)
    box.fill('{"model": "plain", "seed": 1, "user": "me", "messages": [{"role": "user", "content": "hi"}]}')
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("heading", name="It goes nowhere")).to_be_visible()
    expect(page.get_by_text("rejected", exact=True)).to_be_visible()
    expect(page.get_by_role("row", name="Recorded")).to_contain_text("user")


def test_a_request_that_is_refused_names_the_field(look: Look, house: Served) -> None:
    look.allowed = ("status of 400",)
    page = look.open(house, "explain")
    page.get_by_label("Request", exact=True).fill('{"model": "small", "messages": [], "temperature": 9}')
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("It is refused because of")
    page.get_by_label("Request", exact=True).fill("{")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("This is no JSON")


# ---- requests ----


def test_requests_are_shown_by_their_facts_and_no_word_of_them(look: Look, house: Served) -> None:
    assert asked(house) == 200
    assert asked(house, HOSTILE_NAME) == 200
    assert asked(house, "plain", seed=1) == 400
    page = look.open(house, "requests")
    rows = page.get_by_role("region", name="Table: The last requests").locator("tbody tr")
    expect(rows.first).to_contain_text("400 unsupported")
    expect(rows.nth(1)).to_contain_text("<img src=x onerror")
    before = rows.count()
    assert asked(house) == 200  # it comes by itself
    expect(rows).to_have_count(before + 1)
    expect(page.get_by_role("region", name="Table: By key and model")).to_contain_text("anonymous")
    expect(page.get_by_role("region", name="Table: Errors by code")).to_contain_text("unsupported")
    expect(page.get_by_text("Time to the first part of the answer").first).to_be_visible()
    page.get_by_label("failed only").check()
    expect(rows.first).to_contain_text("400")
    assert "a secret of mine" not in page.content()


# ---- keys ----


def test_who_has_a_key_with_admin_scope_logs_in_and_others_do_not(look: Look, locked_house: Served) -> None:
    look.allowed = ("status of 401", "status of 403")
    page = look.open(locked_house)
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    log_in(page, "a-user")
    expect(page.get_by_role("alert")).to_contain_text("not for the routes")
    log_in(page, KEY)
    expect(page.get_by_role("heading", name="House", exact=True)).to_be_visible()
    page.reload()  # this tab remembers
    expect(page.get_by_role("heading", name="This host")).to_be_visible()
    assert look.context.cookies() == []
    other = look.open(locked_house)  # and no other
    expect(other.get_by_label("API key")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert KEY not in locked_house.text()


def test_keys_are_made_limited_rotated_and_revoked(look: Look, locked_house: Served) -> None:
    look.allowed = ("status of 401",)
    page = look.open(locked_house, "requests")
    log_in(page, KEY)
    page.get_by_role("button", name="Make a key").click()
    page.get_by_label("Name").fill("made <b>here</b>")
    page.get_by_label("requests_per_minute").fill("7")
    page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
    secret = page.get_by_label("The key", exact=True).inner_text().strip()
    page.keyboard.press("Escape")
    keys = page.get_by_role("region", name="Table: Keys", exact=True)
    expect(keys).to_contain_text("requests_per_minute 7")
    assert asked(locked_house, key=secret) == 200
    page.get_by_role("button", name="limits made").click()
    page.get_by_label("tokens_per_day").fill("1000000")
    page.get_by_role("dialog").get_by_role("button", name="Limits of the key").click()
    expect(keys).to_contain_text("tokens_per_day 1000000")
    page.get_by_role("button", name="revoke made").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke the key").click()
    expect(keys).to_contain_text("revoked")
    assert asked(locked_house, key=secret) == 401
    expect(page.get_by_role("region", name="Table: Usage that is kept")).to_be_visible()


def test_credit_is_granted_with_a_second_look_and_once(look: Look, locked_house: Served) -> None:
    look.allowed = ("status of 401", "status of 400", "status of 402", "status of 404")
    page = look.open(locked_house, "requests")
    log_in(page, KEY)
    page.get_by_role("button", name="Grant credit", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key").fill("<b>nobody</b>")
    dialog.get_by_label("Credits").fill("12.50")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("It never had credit. It gets 12.50 more")
    dialog.get_by_role("button", name="Grant credit", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is no key '<b>nobody</b>'")
    dialog.get_by_label("Key").fill("user")
    dialog.get_by_label("Reference").fill("invoice <i>17</i>")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Grant credit", exact=True)).to_be_focused()
    standings = page.get_by_role("region", name="Table: Credits")
    expect(standings).not_to_contain_text("user")  # nothing is done yet
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    row = standings.get_by_role("row").filter(has=page.get_by_role("rowheader", name="user", exact=True))
    expect(row).to_contain_text("12.5")
    give_credit(page, "grant", "12.5", "invoice <i>17</i>")  # the same once more is the same
    expect(row).to_contain_text("12.5")
    give_credit(page, "budget", "3")
    expect(row.get_by_role("cell").nth(3)).to_have_text("3")
    give_credit(page, "withdraw", "100", ends=False)
    expect(dialog.get_by_role("alert")).to_contain_text("can be withdrawn")
    page.keyboard.press("Escape")
    give_credit(page, "withdraw", "2.5")
    expect(row.get_by_role("cell").nth(0)).to_have_text("10")
    page.get_by_role("button", name="history user", exact=True).click()
    entries = page.get_by_role("region", name="Table: Entries")
    expect(entries.locator("tbody tr")).to_have_count(2)
    expect(entries).to_contain_text("invoice <i>17</i>")
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="history user", exact=True)).to_be_focused()
    assert violations(page) == []
    assert page.locator("td i, th b").count() == 0


def give_credit(page: Page, kind: str, amount: str, reference: str = "", *, ends: bool = True) -> None:
    page.get_by_role("button", name=f"{kind} user", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Credits").fill(amount)
    if reference:
        dialog.get_by_label("Reference").fill(reference)
    dialog.get_by_role("button", name="Go on").click()
    dialog.locator("button[type=submit]").click()
    if ends:
        expect(dialog).to_have_count(0)


def test_beyond_loopback_without_keys_there_is_no_console(start: Callable[[str], Served], look: Look) -> None:
    served = start(f'[server]\nport = 0\nhost = "0.0.0.0"\nallow_unauthenticated = true\n{MODELS}')
    for path in ("/console", "/console/session", "/console/events", "/admin/instances"):
        answer = httpx.get(f"http://127.0.0.1:{served.address[1]}{path}", headers={"x-enginehouse-console": "1"})
        assert answer.status_code == 403


# ---- all of them ----


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_every_page_is_accessible_and_pictured(
    browser: Browser, house: Served, pictures: Path, place: str, colours: str
) -> None:
    if not AXE.exists():
        pytest.skip("needs axe-core: make console")
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=colours)  # type: ignore[arg-type]
    look = Look(context)
    page = look.open(house, place)
    expect(page.get_by_role("heading", name=PLACES[place], exact=True, level=1)).to_be_visible()
    if place == "playground":
        for number, asked_for in enumerate(("markdown", "code"), 1):
            page.get_by_label("Message", exact=True).fill(asked_for)
            page.get_by_role("button", name="Send", exact=True).click()
            expect(page.get_by_text("ends: stop")).to_have_count(number)
        expect(page.locator(".code-remark")).to_be_visible()
    elif place == "explain":
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_role("heading", name="It goes to")).to_be_visible()
    elif place == "requests":
        expect(page.get_by_role("region", name="Table: The last requests")).to_be_visible()
    elif place == "house":
        expect(page.locator("table.instances tbody tr").first).to_be_visible()
    else:
        expect(page.get_by_role("button", name="Certify")).to_be_visible()
    page.screenshot(path=pictures / f"{place}-{colours}.png", full_page=True)
    assert violations(page) == []
    look.check()
    context.close()


@pytest.mark.parametrize("place", PLACES)
def test_narrow_screens_scroll_no_page_sideways(look: Look, house: Served, pictures: Path, place: str) -> None:
    page = look.open(house, place)
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.get_by_role("heading", name=PLACES[place], exact=True, level=1)).to_be_visible()
    page.wait_for_timeout(300)
    page.screenshot(path=pictures / f"{place}-narrow.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_is_enough(look: Look, house: Served) -> None:
    page = look.open(house)
    expect(page.get_by_role("heading", name="This host")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="House")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    page.get_by_label("Message", exact=True).focus()
    page.keyboard.type("by keys")
    page.keyboard.press("Enter")
    expect(page.locator(".message.assistant")).to_contain_text("You said: by keys.")
    page.goto(f"{house.url}/console#/house")
    page.get_by_role("button", name="Pin small#0").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Pin small#0")).to_be_focused()


@pytest.mark.parametrize("place", ["toString", "constructor", "__proto__", "elsewhere"])
def test_a_place_that_is_none_is_the_house(look: Look, house: Served, place: str) -> None:
    page = look.open(house, place)
    expect(page.get_by_role("heading", level=1)).to_have_text("House")
