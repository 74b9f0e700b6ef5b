"""Chat templates that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse_kit.text.bounds import check_context
from enginehouse_kit.text.templates import check_template, template_in
from enginehouse_plugin.errors import LoadFailed


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% for m in messages %}\n{{ m.content }", "line 2: unexpected '}'"),
        ("{% for m in messages %}", "line 1: Unexpected end of template"),
        ("{{ messages | }}", "line 1: expected token 'name'"),
    ],
)
def test_a_broken_one_is_told_with_its_line_and_not_tried_again(template: str, problem: str) -> None:
    with pytest.raises(LoadFailed) as caught:
        check_template(template, "the weights")
    assert caught.value.message.startswith(f"The chat template of the weights cannot be read: {problem}")
    assert (caught.value.retryable, caught.value.code) == (False, "bad_template")


def test_what_published_templates_have_is_read() -> None:
    check_template(
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}"
        "{%- generation %}{{ m.content | tojson }}{% endgeneration %}{% endfor %}{{ raise_exception('x') }}",
        "the weights",
    )


def test_the_template_beside_safetensors_is_found(tmp_path: Path) -> None:
    assert template_in(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "a"}')
    assert template_in(tmp_path) == "a"
    (tmp_path / "chat_template.jinja").write_text("b")
    assert template_in(tmp_path) == "b"
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert template_in(tmp_path) is None


def test_a_context_that_the_model_was_not_made_for_is_refused() -> None:
    check_context(2048, 2048)
    check_context(None, 2048)
    check_context(4096, None)
    with pytest.raises(LoadFailed, match="context_tokens = 65536 is more than the 2048 tokens") as caught:
        check_context(65536, 2048)
    assert not caught.value.retryable
