"""The reference of the API in a browser: every route, and a request tried from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect
from tests.integration.served import Served

from .conftest import AXE, Look, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_every_operation_is_there_and_one_is_tried(look: Look, house: Served) -> None:
    page = look.context.new_page()
    page.goto(f"{house.url}/docs")
    document = httpx.get(f"{house.url}/openapi.json", trust_env=False).json()
    operations = sum(len(methods) for methods in document["paths"].values())
    expect(page.locator(".opblock")).to_have_count(operations)
    chat = page.locator("#operations-default-createChatCompletion")
    chat.locator(".opblock-summary-control").click()
    chat.get_by_role("button", name="Try it out").click()
    body = {"model": "small", "messages": [{"role": "user", "content": "tried"}]}
    chat.locator("textarea.body-param__text").fill(json.dumps(body))
    chat.get_by_role("button", name="Execute").click()
    expect(chat.locator(".live-responses-table")).to_contain_text("You said: tried.")


OF_SWAGGER_UI = {
    "heading-order": "groups of operations are headings of the third level, below one of the first",
    "nested-interactive": "a row that opens has a button to copy its path, and a link",
}
"""Rules of axe that Swagger UI breaks itself, which is shipped as it is, and where."""


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_what_axe_finds_there_is_of_swagger_ui_and_known(browser: Browser, house: Served, colours: str) -> None:
    if not AXE.exists():
        pytest.skip("needs axe-core: make console")
    context = browser.new_context(color_scheme=colours)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{house.url}/docs")
    chat = page.locator("#operations-default-createChatCompletion")
    chat.locator(".opblock-summary-control").click()
    expect(chat.get_by_role("button", name="Try it out")).to_be_visible()
    expect(chat.locator("select.examples-select-element").first).to_have_attribute("aria-label", "Example")
    found = violations(page)
    assert {one.split(":", 1)[0] for one in found} == OF_SWAGGER_UI.keys(), found
    context.close()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_is_pictured(browser: Browser, house: Served, pictures: Path, colours: str) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=colours)  # type: ignore[arg-type]
    look = Look(context)
    page = context.new_page()
    page.goto(f"{house.url}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    page.screenshot(path=pictures / f"docs-{colours}.png")
    look.check()
    context.close()


def test_its_policy_allows_no_other_origin_and_no_script_but_files(house: Served) -> None:
    answer = httpx.get(f"{house.url}/docs", trust_env=False)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == "'none'"
    assert "://" not in answer.headers["content-security-policy"]
