"""`compare` and `fingerprint` on the stub against itself, and against stubs that serve something else."""

from __future__ import annotations

import itertools
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from conformance_stub import Behaviour, Rejected
from enginehouse_conformance.cli import cli

SEED = 11


class Hotter(Behaviour):
    """Log probabilities are those after a temperature of 0.7, whatever is asked."""

    def entry(self, logits, token, request):
        return super().entry([value / 0.7 for value in logits], token, request)


class Renormalised(Behaviour):
    """Log probabilities are those of the ten likeliest tokens."""

    def entry(self, logits, token, request):
        least = sorted(logits, reverse=True)[9]
        return super().entry([value if value >= least else -1e9 for value in logits], token, request)


class OtherTemplate(Behaviour):
    """The template begins with two tokens more."""

    def prompt_tokens(self, request):
        return [97, 98, *super().prompt_tokens(request)]


class OtherTokenizer(Behaviour):
    """Prompts have another number of tokens each, and the same logits: nothing but `usage` tells."""

    def usage(self, usage, body):
        return {**usage, "prompt_tokens": usage["prompt_tokens"] + len(body["messages"][0]["content"]) % 5}


def changed(logits, state, size):
    dice = random.Random(f"other/{state}")
    return [value + dice.gauss(0, size) for value in logits]


class OtherArithmetic(Behaviour):
    """Logits differ in their third decimal."""

    size = 2e-3

    def logits(self, state, position, request, is_structured):
        return changed(super().logits(state, position, request, is_structured), state, self.size)


class Tuned(OtherArithmetic):
    """Logits differ as those of 8 bits do."""

    size = 0.12


class OtherModel(OtherArithmetic):
    """Logits have little to do with the first model's."""

    size = 2.0


class Mixture(OtherModel):
    """Every fifth request goes to the other model."""

    def __init__(self):
        self.numbers = itertools.count()
        self.is_other = False

    def accept(self, request):
        self.is_other = next(self.numbers) % 5 == 4
        return request

    def logits(self, state, position, request, is_structured):
        if self.is_other:
            return super().logits(state, position, request, is_structured)
        return Behaviour.logits(self, state, position, request, is_structured)


class FiveAtMost(Behaviour):
    """top_logprobs above 5 is refused."""

    most = 5

    def check_fields(self, body, profile):
        if body.get("top_logprobs", 0) > self.most:
            raise Rejected(f"top_logprobs must be at most {self.most}", param="top_logprobs")
        super().check_fields(body, profile)


class ThreeInSilence(Behaviour):
    """There are no more than three alternatives."""

    def accept(self, request):
        return msgspec.structs.replace(request, top_logprobs=min(request.top_logprobs, 3))


class NoLogprobs(Behaviour):
    """logprobs is refused."""

    def check_fields(self, body, profile):
        if body.get("logprobs"):
            raise Rejected("logprobs is not supported", param="logprobs")
        super().check_fields(body, profile)


class DropsLogprobs(Behaviour):
    """logprobs is ignored."""

    def accept(self, request):
        return msgspec.structs.replace(request, logprobs=False, top_logprobs=0)


class AfterTemperature(Behaviour):
    """Log probabilities are those after temperature; at 0 one token has all."""

    def entry(self, logits, token, request):
        return super().entry([value / (request.temperature or 1e-3) for value in logits], token, request)


class SomeInsideACharacter(Behaviour):
    """Every third answer has no log probabilities, as where its first token ends inside a character."""

    def __init__(self):
        self.numbers = itertools.count()

    def answer(self, answer, body):
        if next(self.numbers) % 3 == 0:
            answer["choices"][0]["logprobs"] = {"content": []}
        return answer


class Markup(Behaviour):
    """The model's name would be a script, and drive a terminal."""

    model = "<script>alert(1)</script>\x1b[2J"


def invoke(*words: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], env=env)


def compare(a: object, b: object, *words: object, env: dict[str, str] | None = None) -> Result:
    return invoke("compare", a, b, "--model", "stub-1", "--timeout", 20, *words, env=env)


def compared(a: object, b: object, *words: object) -> dict:
    result = compare(a, b, "--seed", SEED, "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def kinds(found: dict) -> list[str]:
    return [each["kind"] for each in found["explanations"]]


def test_the_stub_and_itself_have_the_same_arithmetic(stub) -> None:
    result = compare(stub().url, stub().url, "--within", "arithmetic")
    assert result.exit_code == 0, result.output
    assert "D = 0, 99% interval 0 to 0, 24 probes of the seed " in result.stdout
    assert "Band 'arithmetic': the same weights in the same arithmetic\n" in result.stdout
    assert "part most" not in result.stdout


@pytest.mark.parametrize(
    ("other", "bands", "expected"),
    [
        (Hotter, {"other"}, ["temperature"]),
        (Renormalised, {"undecided", "other"}, ["renormalised"]),
        (OtherTemplate, {"other"}, ["template"]),
        (OtherTokenizer, {"arithmetic"}, ["tokenizer", "arithmetic"]),
        (OtherArithmetic, {"weights"}, ["arithmetic"]),
        (Tuned, {"undecided"}, ["family"]),
        (OtherModel, {"other"}, []),
        (Mixture, {"other", "undecided"}, ["mixture"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_served_otherwise_is_told_apart_and_explained(other, bands, expected, stub) -> None:
    found = compared(stub().url, stub(other()).url)
    assert found["band"] in bands, found["distance"]
    assert kinds(found) == expected
    assert found["low"] <= found["distance"] <= found["high"]
    # What A and B are called is no matter.
    turned = compared(stub(other()).url, stub().url)
    assert (turned["distance"], kinds(turned)) == (found["distance"], expected)


def test_a_slope_is_told_as_the_temperature(stub) -> None:
    (explanation,) = compared(stub().url, stub(Hotter()).url)["explanations"]
    assert "a temperature of 0.70" in explanation["words"]


def test_the_prompts_that_part_are_those_of_the_mixture(stub) -> None:
    found = compared(stub().url, stub(Mixture()).url, "--probes", 20)
    assert sorted(found["parting"]) == [4, 9, 14, 19]
    text = compare(stub().url, stub(Mixture()).url, "--probes", 20, "--seed", SEED).stdout
    for at in found["parting"]:
        assert found["probes"][at]["prompt"] in text
    assert "4 of 20 prompts part" in text


def test_templates_are_told_by_the_counts_of_tokens(stub) -> None:
    found = compared(stub().url, stub(OtherTemplate()).url)
    assert "+2 tokens each" in found["explanations"][0]["words"]
    assert found["same_prompt_tokens"] is False
    assert compare(stub().url, stub(OtherTokenizer()).url, "--within", "near").exit_code == 1


def test_the_exit_code_is_that_of_the_band_asked_for(stub) -> None:
    same, tuned = stub().url, stub(Tuned()).url
    assert compare(same, tuned).exit_code == 0
    assert compare(same, tuned, "--within", "near").exit_code == 1
    assert compare(same, stub(OtherArithmetic()).url, "--within", "weights").exit_code == 0
    assert compare(same, stub(OtherArithmetic()).url, "--within", "arithmetic").exit_code == 1


def test_the_seed_repeats_a_comparison_and_is_drawn_otherwise(stub) -> None:
    a, b = stub().url, stub(Tuned()).url
    assert compared(a, b)["probes"] == compared(a, b)["probes"]
    first, second = (compare(a, b, "--json") for _ in range(2))
    seeds = [json.loads(result.stdout)["seed"] for result in (first, second)]
    assert seeds[0] != seeds[1]
    again = compare(a, b, "--json", "--seed", seeds[0])
    assert json.loads(again.stdout)["distance"] == json.loads(first.stdout)["distance"]


# ---- fingerprints ----


def take(url: str, path: Path, *words: object) -> Result:
    return invoke("fingerprint", url, "--model", "stub-1", "-o", path, *words)


def test_a_fingerprint_is_compared_with_its_url_and_with_another_file(stub, tmp_path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    url = stub().url
    assert take(url, a, "--seed", SEED).exit_code == 0
    assert take(stub(Tuned()).url, b, "--seed", SEED).exit_code == 0
    assert invoke("compare", a, url, "--within", "arithmetic").exit_code == 0  # the model is the file's
    assert invoke("compare", url, a, "--within", "arithmetic").exit_code == 0
    live = compared(url, stub(Tuned()).url)["distance"]
    assert json.loads(invoke("compare", a, b, "--json").stdout)["distance"] == live


def test_a_fingerprint_says_what_it_is_of(stub, tmp_path) -> None:
    path = tmp_path / "f.json"
    result = take(stub().url, path, "--seed", SEED, "--probes", 8)
    assert "8 probes of the seed 11, 20 alternatives" in result.stdout
    data = path.read_bytes()
    assert len(data) < 6000
    found = json.loads(data)
    assert (found["fingerprint_version"], found["seed"], found["model"]) == (1, SEED, "stub-1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["taken_at"])
    assert found["served_by"] == {"model": ["stub-1"], "server": ["stub/1"], "system_fingerprint": ["fp_stub"]}
    assert found["fields"] == {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
    assert len(found["probes"]) == 8
    assert all(probe["prompt_tokens"] > 0 and len(probe["top"]) > 15 for probe in found["probes"])


def test_what_cannot_be_compared_is_told(stub, tmp_path) -> None:
    a, b, broken, later = (tmp_path / name for name in ("a.json", "b.json", "broken.json", "later.json"))
    url = stub().url
    take(url, a, "--seed", 1, "--probes", 4)
    take(url, b, "--seed", 2, "--probes", 4)
    broken.write_text('{"fingerprint_version": 1}')
    later.write_text('{"fingerprint_version": 9}')
    for words, said in (
        ((a, b), "the seeds are 1 and 2"),
        ((a, url, "--seed", 3), "the fingerprint is of the seed 1"),
        ((a, tmp_path / "nothing.json"), "nothing.json: No such file"),
        ((a, broken), "no fingerprint"),
        ((a, later), "of version 9"),
        ((url, url), "--model"),
        (("http://127.0.0.1:9/v1", a), "no connection"),
        ((url, url, "--model", "m"), "model_not_found"),
        (("http://me:secret@127.0.0.1/v1", url), "--key-env"),
    ):
        result = invoke("compare", *words)
        assert result.exit_code == 2, (words, result.output)
        assert said in result.stderr, (words, result.stderr)
        assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (NoLogprobs, "refuses log probabilities"),
        (DropsLogprobs, "log probabilities were asked for, and 4 answers have none"),
        (ThreeInSilence, "gives 3 alternatives"),
    ],
)
def test_an_endpoint_that_gives_too_little_is_named_with_what_is_missing(other, said, stub, tmp_path) -> None:
    url = stub(other()).url
    for result in (compare(stub().url, url), take(url, tmp_path / "f.json")):
        assert result.exit_code == 2
        assert url in result.stderr
        assert said in result.stderr


def test_five_alternatives_are_enough(stub) -> None:
    found = compared(stub().url, stub(FiveAtMost()).url)
    assert found["band"] == "arithmetic"
    assert [probe["common"] for probe in found["probes"]] == [5] * 24
    assert "B gives 5 alternatives in place of 20" in found["notes"][0]
    assert compared(stub(FiveAtMost()).url, stub(Tuned()).url)["band"] == "undecided"


def test_log_probabilities_after_temperature_are_asked_for_at_1(stub) -> None:
    found = compared(stub().url, stub(AfterTemperature()).url)
    assert found["band"] == "arithmetic"
    assert "B was not asked at temperature 0" in found["notes"][0]


def test_prompts_without_a_whole_first_token_are_left_out_and_replaced(stub) -> None:
    found = compared(stub().url, stub(SomeInsideACharacter()).url)
    assert len(found["probes"]) == 24
    assert (found["b"]["left_out"], found["a"]["left_out"]) == (12, 0)
    assert found["band"] == "arithmetic"


# ---- secrets and words of others ----


def test_each_side_has_its_own_key_and_never_the_other_ones(stub, tmp_path) -> None:
    env = {"A": "very-secret-a", "B": "very-secret-b"}
    a, b = (stub(key=key).url for key in env.values())
    page = tmp_path / "page.html"
    both = compare(a, b, "--key-env", "A", "--key-env-b", "B", "--html", page, env=env)
    assert both.exit_code == 0, both.output
    assert "very-secret" not in both.output + page.read_text()
    alone = compare(a, b, "--key-env", "A", env=env)
    assert alone.exit_code == 2
    assert "check the key" in alone.stderr
    assert compare(a, a, "--key-env", "A", env=env).exit_code == 0  # of one origin


class Page(HTMLParser):
    """The tags of a page, which must be balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.open += [] if tag == "meta" else [tag]

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_shows_each_probe(stub, tmp_path) -> None:
    path = tmp_path / "page.html"
    assert compare(stub().url, stub(Mixture()).url, "--html", path, "--seed", SEED).exit_code == 0
    text = path.read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "script" not in page.seen
    assert not re.search(r'(src|href)="', text)
    assert page.seen.count("svg") == 2
    first = text.partition("</svg>")[0]
    assert first.count("<circle") == 24
    assert first.count('class="far"') == 4
    assert "mixture" in text


def test_words_of_an_endpoint_are_escaped(stub, tmp_path) -> None:
    path = tmp_path / "page.html"
    url = stub(Markup()).url
    result = invoke("compare", url, url, "--model", Markup.model, "--html", path)
    assert result.exit_code == 0, result.output
    assert "<script" not in path.read_text()
    assert "&lt;script" in path.read_text()
    assert "\x1b" not in result.output


def test_a_page_that_cannot_be_written_is_told(stub, tmp_path) -> None:
    result = compare(stub().url, stub().url, "--html", tmp_path / "no" / "page.html", "--probes", 4)
    assert result.exit_code == 2
    assert "--html" in result.stderr
