"""Long prompts: what they hold, and how they are asked and shown."""

from __future__ import annotations

import json
import random
from itertools import islice

import pytest
from click.testing import CliRunner

from conformance_stub import Behaviour
from enginehouse_conformance.cli import cli
from enginehouse_conformance.identity.prompts import LONGEST_TOKENS, long_prompts

LONG = ("--prompt-tokens", "100", "--probes", "6", "--seed", "11")


class OtherModel(Behaviour):
    """Logits have little to do with the first model's."""

    def logits(self, state, position, request, is_structured):
        dice = random.Random(f"other/{state}")
        return [value + dice.gauss(0, 2) for value in super().logits(state, position, request, is_structured)]


def invoke(*words: object):
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.mark.parametrize("tokens", [100, 1000, 4000, LONGEST_TOKENS])
def test_long_prompts_are_those_of_their_seed_and_ask_about_what_came_early(tokens) -> None:
    taken = list(islice(long_prompts(7, tokens), 9))
    assert taken == list(islice(long_prompts(7, tokens), 9))
    assert taken[0] != next(long_prompts(8, tokens))
    assert len(set(taken)) == 9
    texts = [prompt.split(" Say only the number of ")[0] for prompt in taken]
    assert len(set(texts[:8])) == 1, "what an engine keeps serves eight of them"
    assert texts[8] != texts[0]
    for prompt in taken:
        told, asked = prompt.split(" Say only the number of ")
        assert prompt.isascii()
        assert 2.5 < len(told) / tokens < 4.5, "characters of a token of English"
        fact = f"{asked.removesuffix('.').capitalize()} has the number "
        assert told.count(fact) == 1, "each thing has one number"
        assert tokens == 100 or told.index(fact) <= len(told) / 3


def test_long_prompts_are_asked_and_shown_by_their_ends(stub, tmp_path) -> None:
    a, b, page, stored = stub().url, stub(OtherModel()).url, tmp_path / "compared.html", tmp_path / "long.json"
    found = json.loads(invoke("compare", a, b, "--model", "stub-1", "--json", *LONG).stdout)
    assert found["band"] == "other"
    assert min(len(probe["prompt"]) for probe in found["probes"]) > 300
    text = invoke("compare", a, b, "--model", "stub-1", "--html", page, *LONG).stdout
    for shown in (text, page.read_text()):
        assert "Say only the number of the " in shown
        assert found["probes"][0]["prompt"] not in shown
    assert invoke("fingerprint", a, "--model", "stub-1", "-o", stored, *LONG).exit_code == 0
    assert json.loads(invoke("compare", stored, b, "--json").stdout)["distance"] == found["distance"]


def test_a_fingerprint_says_how_long_its_prompts_are(stub, tmp_path) -> None:
    url, stored = stub().url, tmp_path / "short.json"
    assert invoke("fingerprint", url, "--model", "stub-1", "-o", stored).exit_code == 0
    refused = invoke("compare", stored, url, "--prompt-tokens", 1000)
    assert refused.exit_code == 2
    assert "--prompt-tokens: a fingerprint has prompts" in refused.stderr
