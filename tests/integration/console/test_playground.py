"""The playground in a browser: streams, what is hostile in them, tools, schemas, colours, two models, code."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.integration.scripted.scripted_console import LONGEST
from tests.integration.served import Served

from .conftest import HOSTILE_NAME, Look

if TYPE_CHECKING:
    from playwright.sync_api import Page


def choose(page: Page, model: str, pane: int = 0) -> None:
    select = page.locator(f"#model-{pane}")
    select.select_option(model)


def talk(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def last(page: Page) -> str:
    """The text of the last answer, when it is whole."""
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    return page.locator(".message.assistant").last.inner_text()


@pytest.fixture
def page(look: Look, house: Served) -> Page:
    page = look.open(house, "playground")
    choose(page, "small")
    return page


def test_an_answer_is_streamed_and_its_figures_are_told(page: Page) -> None:
    talk(page, "hello")
    expect(page.locator(".message.assistant")).to_contain_text("You said: hello. And that is all.")
    told = last(page)
    assert "10 + " in told
    assert "ends: stop" in told
    assert "by small#0" in told


def test_an_answer_grows_and_is_stopped(page: Page, house: Served) -> None:
    talk(page, "endless")
    expect(page.locator(".message.assistant")).to_contain_text("word3 ")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".message.assistant")).to_contain_text("ends: stopped by you")
    house.wait_for_log("request", lambda line: line["cancelled"] is True)


def test_an_answer_that_is_markup_is_shown_as_text(page: Page) -> None:
    talk(page, "hostile")
    told = last(page)
    assert "<script>window.fell = 1</script>" in told
    assert "<iframe srcdoc=" in told
    answer = page.locator(".message.assistant")
    expect(answer.locator("strong")).to_have_text("bold")
    for element in ("script", "img", "iframe", "b", "a"):
        assert answer.locator(element).count() == 0
    assert page.evaluate("window.fell") is None


def test_code_has_the_colours_of_its_language_and_stays_text(page: Page) -> None:
    talk(page, "code")
    told = last(page)
    blocks = page.locator(".message.assistant pre code")
    python, data, unknown = blocks.nth(0), blocks.nth(1), blocks.nth(2)
    expect(python.locator(".code-word").first).to_have_text("def")
    expect(python.locator(".code-remark")).to_have_text("# <b>says</b>")
    expect(python.locator(".code-value")).to_have_text("42")
    expect(data.locator(".code-key").first).to_have_text('"known"')
    assert unknown.locator("span").count() == 0
    assert "'<img src=x onerror=fell()>' * 42" in told
    for element in ("b", "img", "script", "[style]"):
        assert page.locator(f".message.assistant pre {element}").count() == 0


@pytest.mark.parametrize("asked", ["hostile code", "long code"])
def test_code_that_is_too_much_is_shown_without_colours(page: Page, asked: str) -> None:
    talk(page, asked)
    last(page)
    page.wait_for_timeout(500)
    talk(page, "and now")  # the page goes on
    expect(page.locator(".message.assistant").last).to_contain_text("You said: and now.")
    blocks = page.locator(".message.assistant pre code")
    expect(blocks.first).to_contain_text("a.a.a." if asked == "hostile code" else "def f(): return 1")
    if asked == "long code":
        assert blocks.first.locator("span").count() == 0


def test_control_characters_are_seen_and_turn_nothing(page: Page) -> None:
    talk(page, "controls")
    told = last(page)
    for seen in ("␛[31m", "␈", "␀", "\\u202e", "␇"):
        assert seen in told
    for hidden in "\x1b\x08\x00\u202e\x07":
        assert hidden not in told


def test_a_line_of_a_megabyte_is_shown_in_part_and_whole_on_demand(page: Page) -> None:
    talk(page, "long")
    told = last(page)
    assert 100_000 <= told.count("x") < 110_000
    page.get_by_role("button", name="Show all 1,000,000 characters").click()
    assert page.locator(".message.assistant .plain-text").inner_text().count("x") == LONGEST


@pytest.mark.parametrize(("text", "seen"), [("emphasis", "*a **b *a"), ("deep", "at the bottom")])
def test_an_answer_that_takes_long_to_read_or_goes_too_deep_is_shown_as_it_is(page: Page, text: str, seen: str) -> None:
    """Read as Markdown the first takes a minute and a half, and the second more stack than a browser has."""
    talk(page, text)
    assert seen in last(page)
    expect(page.locator(".message.assistant .plain-text")).to_contain_text(seen)
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()


def test_markdown_is_elements(page: Page) -> None:
    talk(page, "markdown")
    last(page)
    answer = page.locator(".message.assistant")
    expect(answer.locator("h2")).to_have_text("Title")
    expect(answer.locator("pre")).to_contain_text("print('<b>not bold</b>')")
    expect(answer.locator("li li, ul li")).to_have_count(2)
    expect(answer.locator("td")).to_have_count(2)


def test_a_failure_of_the_engine_is_told(page: Page, look: Look) -> None:
    look.allowed = ("status of 5",)  # the browser's own word about it
    talk(page, "fail")
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator(".message.assistant b").count() == 0


def test_a_tool_is_called_and_its_result_is_written_by_hand(page: Page) -> None:
    page.locator("summary", has_text="Tools").click()
    page.get_by_role("button", name="Example").first.click()
    talk(page, "tool")
    expect(page.get_by_label("Arguments of get_weather")).to_have_text('{"city": "Paris"}')
    page.get_by_label("Result of get_weather").fill("18 degrees <b>")
    page.get_by_role("button", name="Send the results").click()
    expect(page.locator(".message.assistant").last).to_contain_text("The tool says: 18 degrees <b>")


def test_a_schema_is_checked_as_the_answer_comes(page: Page) -> None:
    page.locator("summary", has_text="JSON schema").click()
    page.get_by_label("Schema of the answer").fill("{ nonsense")
    expect(page.locator("details", has_text="JSON schema").get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Example").last.click()
    talk(page, "json")
    expect(page.locator(".message.assistant").last).to_contain_text("It satisfies the schema.")
    talk(page, "bad json")
    expect(page.locator(".message.assistant").last).to_contain_text("It does not satisfy the schema: ")


def test_likely_tokens_have_another_colour_and_others_are_told(page: Page) -> None:
    page.get_by_label("logprobs as colours").check()
    page.get_by_label("top_logprobs").fill("2")
    talk(page, "hello")
    last(page)
    tokens = page.locator(".tokens > span")
    classes = set(tokens.evaluate_all("all => all.map(one => one.className)"))
    assert classes <= {"p1", "p3", "p4"}
    assert classes
    tokens.first.click()
    expect(page.locator(".message.assistant")).to_contain_text('" other" 5.0 %')


def test_two_models_answer_beside_each_other(page: Page) -> None:
    page.get_by_label("Two models").check()
    choose(page, "small")
    choose(page, HOSTILE_NAME, 1)
    talk(page, "both")
    expect(page.locator(".pane")).to_have_count(2)
    for pane in page.locator(".pane").all():
        expect(pane.locator(".message.assistant")).to_contain_text("You said: both.")
    assert page.locator("img[src=x]").count() == 0


def test_ranges_and_defaults_are_told_and_what_is_wrong_is_not_sent(page: Page) -> None:
    temperature = page.get_by_label("temperature")
    assert temperature.get_attribute("placeholder") == "1 by the API"
    temperature.fill("3")
    expect(page.locator(".field", has=temperature)).to_contain_text("at most 2")
    talk(page, "hello")
    expect(page.get_by_role("alert").filter(has_text="temperature: at most 2")).to_be_visible()
    assert page.locator(".message").count() == 0
    choose(page, "plain")
    expect(page.locator(".field", has=page.get_by_label("seed"))).to_contain_text("This model refuses it.")


def test_what_the_model_cannot_do_is_refused_by_name(page: Page, look: Look) -> None:
    look.allowed = ("status of 400",)
    choose(page, "plain")
    page.get_by_label("seed").fill("1")
    talk(page, "hello")
    expect(page.locator(".message.assistant").get_by_role("alert")).to_contain_text("seed")


def test_conversations_stay_in_this_browser(page: Page, house: Served) -> None:
    talk(page, "remember me")
    last(page)
    page.reload()
    page.get_by_text("Conversations (1)").click()
    page.get_by_role("button", name="remember me", exact=True).click()
    expect(page.locator(".message.assistant")).to_contain_text("You said: remember me.")
    page.get_by_role("button", name="Forget remember me").click()
    expect(page.get_by_text("Conversations (0)")).to_be_visible()
    assert page.evaluate("localStorage.getItem('enginehouse.conversations')") == "[]"
    assert "remember me" not in house.text()


def test_a_request_as_code_does_the_same(page: Page) -> None:
    page.get_by_label("Message", exact=True).fill("it's code")
    page.get_by_label("top_p").fill("0.5")
    page.get_by_role("button", name="As code").click()
    command = page.locator("dialog pre").inner_text()
    done = subprocess.run(["/bin/sh", "-c", f"{command} -s --noproxy '*'"], capture_output=True, text=True, timeout=60)
    events = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert text == "You said: it's code. And that is all."
    page.get_by_role("button", name="Python").click()
    expect(page.locator("dialog pre")).to_contain_text("from openai import OpenAI")
    program = page.locator("dialog pre").inner_text()
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.strip() == "You said: it's code. And that is all.", ran.stderr
    page.get_by_role("button", name="Node").click()
    expect(page.locator("dialog pre")).to_contain_text('"top_p": 0.5')
