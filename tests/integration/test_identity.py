"""`enginehouse-conformance compare` on a real engine behind a real server: the same model, and another template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from enginehouse_conformance.cli import cli
from tests.weights import tiny_gguf

CONFIG = """
[server]
port = 0

[models.same]
context_tokens = 1024
placements = [{{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1 }} }}]

[models.other]
context_tokens = 1024
placements = [
    {{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1, chat_template = "{template}" }} }},
]
"""
TEMPLATE = (
    r"{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    r"<|im_start|>assistant\n"
)
"""The embedded model's, without its default system prompt."""


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.mark.engine
def test_a_real_engine_is_itself_and_not_with_another_template(serve, tmp_path: Path) -> None:
    server = serve(CONFIG.format(weights=tiny_gguf(), template=TEMPLATE))
    url, stored = f"{server.url}/v1", tmp_path / "same.json"
    code, said = invoke("fingerprint", url, "--model", "same", "--probes", 8, "-o", stored)
    assert code == 0, said
    assert json.loads(stored.read_bytes())["served_by"]["x-enginehouse-instance"] == ["same#0"]
    code, said = invoke("compare", stored, url, "--within", "arithmetic")
    assert code == 0, said
    code, said = invoke("compare", url, url, "--model", "same", "--model-b", "other", "--probes", 8, "--within", "near")
    assert code == 1, said
    assert "Band 'other'" in said
    assert "tokens each: another template" in said
