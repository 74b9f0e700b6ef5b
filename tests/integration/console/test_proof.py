"""Proof in a browser: a run that is started there, its certificate and report, and two reports compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from tests.integration.served import Served

from tests.weights import tiny_gguf

from .conftest import Look

REPORTS = Path(__file__).parents[3] / "conformance/reports"
ENGINE = f'{{ backend = "llamacpp", source = {json.dumps(str(tiny_gguf()))} }}'
OWN = {"x-enginehouse-console": "1"}


def test_a_report_is_read_rule_by_rule_and_two_are_compared(look: Look, house: Served) -> None:
    first, second = (REPORTS / name / "report.json" for name in ("llamacpp-tiny", "mlx-tiny"))
    verdicts = [
        {one["rule"]: one["verdict"] for one in json.loads(file.read_text())["results"]} for file in (first, second)
    ]
    differing = sum(verdicts[0].get(rule) != verdicts[1].get(rule) for rule in verdicts[0].keys() | verdicts[1].keys())
    page = look.open(house, "proof")
    box = page.get_by_label("Open report.json files of the suite")
    box.set_input_files(first)
    page.get_by_label("Show").select_option("all")
    rows = page.locator("section[aria-labelledby=rules] tbody tr")
    expect(rows).to_have_count(len(verdicts[0]))
    box.set_input_files({"name": "second.json", "mimeType": "application/json", "buffer": second.read_bytes()})
    expect(page.get_by_text(f"{differing} rules differ")).to_be_visible()


@pytest.mark.parametrize(
    "told", [{"results": "<script>"}, {"results": [{}], "summary": {}}, {"results": [], "summary": None}, [], None, 1]
)
def test_a_file_that_is_no_report_is_told(look: Look, house: Served, told: object) -> None:
    page = look.open(house, "proof")
    hostile = json.dumps(told).encode()
    page.get_by_label("Open report.json files of the suite").set_input_files(
        {"name": "<b>x.json", "mimeType": "application/json", "buffer": hostile}
    )
    expect(page.get_by_role("alert")).to_contain_text("<b>x.json: This is no report")


def test_a_run_is_started_seen_and_stopped(look: Look, house: Served) -> None:
    page = look.open(house, "proof")
    page.locator("#proven").select_option("small")
    page.get_by_role("button", name="Certify").click()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    again = httpx.post(f"{house.url}/admin/certify", headers=OWN, json={"model": "small"}, trust_env=False)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "run_not_possible")
    page.get_by_role("button", name="Stop the run").click()
    expect(page.get_by_text("stopped", exact=True)).to_be_visible()


@pytest.mark.engine
def test_a_run_ends_with_a_certificate_that_the_house_shows(look: Look, start: Callable[[str], Served]) -> None:
    served = start(f"[server]\nport = 0\n[models.tiny]\nplacements = [{ENGINE}]\n")
    page = look.open(served, "proof")
    page.get_by_role("button", name="Certify").click()
    expect(page.get_by_text("of ", exact=False).first).to_be_visible()
    expect(page.get_by_text("certified", exact=True).or_(page.get_by_text("failed", exact=True))).to_be_visible(
        timeout=400_000
    )
    expect(page.get_by_text("current for tiny#0")).to_be_visible()
    with page.expect_download() as badge:
        page.get_by_role("button", name="badge.svg of").first.click()  # the newest: one that was stopped may have one
    assert "<svg" in Path(badge.value.path()).read_text()
    page.get_by_role("button", name="Open 2").first.click()
    expect(page.get_by_role("heading", name="tiny: MUST")).to_be_visible()
    page.get_by_role("link", name="House").click()
    expect(page.locator("table.instances")).to_contain_text("current")


def test_reports_are_files_of_their_folder_alone(house: Served) -> None:
    for path in ("x/report.json", "20260101T000000-abcd/..%2f..%2fenginehouse.toml", "..%2f..%2f/report.json"):
        answer = httpx.get(f"{house.url}/admin/reports/{path}", headers=OWN, trust_env=False)
        assert answer.status_code in (400, 404), path
