"""The reference of the API in a browser: every route, and a request tried from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect
from tests.integration.served import Served

from .conftest import Look

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
