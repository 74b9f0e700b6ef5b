"""What the engines are given in tests is what the embedded model says, in either format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from enginehouse.weights import cache_folder
from enginehouse_llamacpp.backend import LlamaCppBackend
from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_llamacpp.options import LlamaCppOptions
from enginehouse_plugin import Placement
from tests.weights import gguf_files, llama, smollm2_hf, tiny_gguf, tiny_hf

PLAIN = (
    "",
    " ",
    "\n",
    "Hello, world!",
    " leading and trailing ",
    "two  blanks, three   blanks, and four    at the end    ",
    "tabs\tand\t\ttabs \t mixed",
    "lines\n\nand\r\nothers\n \n\n  \n",
    "don't you'll we've I'd they're it's",
    "DON'T O'Brien's 'quoted' ''twice''",
    "0123456789",
    "3.14159 and 1,000,000 and 0x1F and 1e-05",
    "year2026month11day21",
    "½ ² ³ Ⅷ ① ٣ ४ ５",  # noqa: RUF001  # digits of other scripts
    "Straße, naïve, coöperate, Łódź, Ångström",
    "e\u0301 is not \u00e9, and \ufb01 is not fi",
    "Привет, как дела?",
    "Ὀδυσσεύς",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "你好，世界。今天是二〇二六年。",  # noqa: RUF001  # full-width punctuation
    "こんにちは世界、カタカナ",
    "안녕하세요",
    "สวัสดีชาวโลก",
    "🙂 👩‍👩‍👧‍👦 🇫🇷 👍🏽 ❤️",
    "non-breaking\u00a0and\u2003em\u3000ideographic blanks",
    "zero\u200bwidth\u200djoiner\ufeffmark",
    "control \x01 \x1b[31mred\x1b[0m \x7f",
    "def f(x):\n    return {'a': [x ** 2, ~x], \"b\": x != 0}  # note\n",
    '{"name": "x", "arguments": {"n": -1.5e3, "s": "\\u00e9\\n"}}',
    "https://example.org/a?b=c&d=%20#e",
    "<html><body class='x'>&amp;</body></html>",
    "$\\frac{a}{b} \\leq \\sum_{i=0}^{n} x_i$",
    "<|im_star|> < | im_start | > <|",
    "a" * 300,
    "The quick brown fox jumps over the lazy dog. " * 20,
)
SPECIAL = (
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_end|><|endoftext|>",
    "text<|im_end|>text <|im_end|> text",
    "<repo_name>a/b<file_sep>main.py\n<empty_output>",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppInstance]:
    path = str(tiny_gguf())
    placement = Placement(
        model="tiny", backend="llamacpp", source=path, path=path, context_tokens=512, options=LlamaCppOptions()
    )
    instance = await LlamaCppBackend().load(placement, (), lambda _: None)
    try:
        yield instance
    finally:
        await instance.unload()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(smollm2_hf("bf16") / "tokenizer.json"))


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
class TestTokens:
    @pytest.mark.parametrize("text", [*PLAIN, *SPECIAL])
    async def test_the_folder_and_llama_cpp_read_a_text_as_the_same_tokens(self, engine, tokenizer, text):
        ids = await engine._server.tokenize(text, parse_special=True)
        assert tokenizer.encode(text, add_special_tokens=False).ids == list(ids)

    async def test_special_tokens_are_single_tokens(self, tokenizer):
        assert tokenizer.encode("<|im_start|>x<|im_end|>").ids[::2] == [1, 2]


def test_tokens_of_a_text_spell_it_again(tokenizer):
    for text in PLAIN:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_both_folders_have_the_same_tokenizer_and_template():
    for name in ("tokenizer.json", "special_tokens_map.json"):
        assert (tiny_hf() / name).read_bytes() == (smollm2_hf("bf16") / name).read_bytes()
    template = json.loads((tiny_hf() / "tokenizer_config.json").read_text())["chat_template"]
    assert "<|im_start|>" in template


def test_the_config_tells_the_shapes_of_the_weights():
    config = json.loads((tiny_hf() / "config.json").read_text())
    tensors = load_file(tiny_hf() / "model.safetensors")
    assert tensors["model.embed_tokens.weight"].shape == (config["vocab_size"], config["hidden_size"])
    query = tensors["model.layers.1.self_attn.q_proj.weight"]
    assert query.shape == (config["num_attention_heads"] * config["head_dim"], config["hidden_size"])
    assert f"model.layers.{config['num_hidden_layers'] - 1}.mlp.up_proj.weight" in tensors
    assert f"model.layers.{config['num_hidden_layers']}.mlp.up_proj.weight" not in tensors
    assert config["tie_word_embeddings"] is ("lm_head.weight" not in tensors)


def test_both_formats_hold_the_same_random_weights():
    folder = load_file(tiny_hf() / "model.safetensors")
    file = gguf_files.read(tiny_gguf())
    assert len(folder) == len(file.tensors)
    assert np.array_equal(folder["model.layers.0.self_attn.k_proj.weight"], file.tensors["blk.0.attn_k.weight"])
    assert np.array_equal(folder["model.layers.1.mlp.down_proj.weight"], file.tensors["blk.1.ffn_down.weight"])


def test_rows_of_a_rotated_head_alternate_in_one_format_and_are_halved_in_the_other():
    heads_of_four = np.array([[0], [1], [2], [3], [10], [11], [12], [13]], np.float32)
    alternating = llama.interleaved(heads_of_four, 2)
    assert alternating.ravel().tolist() == [0, 2, 1, 3, 10, 12, 11, 13]
    assert np.array_equal(llama.halved(alternating, 2), heads_of_four)


def test_bf16_is_the_nearest_to_the_f32():
    from tests.weights.hugging_face import _bf16

    wide = np.array([1.0, 1.00390625, 1.01171875, -3.14159265, 1e-30], np.float32)  # the second and third are ties
    near = (_bf16(wide).astype(np.uint32) << 16).view(np.float32)
    assert near.tolist()[:3] == [1.0, 1.0, 1.015625]
    assert np.all(np.abs(near - wide) <= np.abs(wide) / 256)


def test_processes_that_want_the_same_weights_at_once_share_one_making(tmp_path: Path):
    (tmp_path / "demo").symlink_to(cache_folder() / "demo")
    command = [sys.executable, "-m", "tests.weights", "tiny-gguf"]
    environment = {**os.environ, "ENGINEHOUSE_CACHE": str(tmp_path)}
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=300)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(said)) == 1
    made = Path(said[0])
    assert made.read_bytes() == tiny_gguf().read_bytes()
    assert [path for path in made.parents[1].iterdir() if path.is_dir()] == [made.parent]
