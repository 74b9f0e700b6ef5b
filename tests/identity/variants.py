"""What is compared with each engine's float32: other weights, options, templates and engines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from enginehouse.weights import resolve
from enginehouse.weights.demo import DEMOS
from tests.weights import smollm2_gguf_f32, smollm2_hf

from .weights import NOISY, ROPE, STRETCHED, TUNED, TYPES, changed, changed_hf, mlx_4_bits

FOLDER = Path(__file__).parents[2] / ".cache" / "identity"
_SYSTEM = "trained by Hugging Face"
_CONTENT = "message['content']"
_DROPPED_CHARS = 1600


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is compared with the reference: weights, the backend, and its options as TOML."""

    weights: Callable[[], Path] = smollm2_gguf_f32
    backend: str = "llamacpp"
    options: tuple[str, ...] = ()
    template: Callable[[str], str] | None = None


def _q41() -> Path:
    path = resolve(DEMOS["smollm2-135m"].source)
    assert path is not None
    return path


def _without_default(template: str) -> str:
    begin, end = template.index("{% if loop.first"), template.index("{% endif %}") + len("{% endif %}")
    return template[:begin] + template[end:]


def _one_more_dot(template: str) -> str:
    return template.replace(_SYSTEM, f"{_SYSTEM}.")


def _cut(template: str) -> str:
    """Without the beginning of each message, as where a context is too short and its beginning is dropped."""
    return template.replace(_CONTENT, f"{_CONTENT}[{_DROPPED_CHARS}:]")


NO_SYSTEM, DOT, TUNE = "no default system prompt", "one more dot", "rank-4 change by 2 %"
CUT = "the beginning dropped"
CLAIMED = ("KV q8_0", "Q8_0", "Q5_0", "Q4_0", TUNE, DOT, NO_SYSTEM)
"""Changes that the bands tell from the same arithmetic, where an engine has them."""
LONG = ("again", "steps of 512", "RoPE base x 1.1", "RoPE base x 2", CUT, "KV q8_0", "Q8_0", "MLX float32")
"""What long prompts are for; `CUT` leaves nothing of short ones."""
_WEIGHTS = {
    **{name: name for name in TYPES},
    TUNE: TUNED,
    "noise of 1e-3 in one layer": NOISY,
    "RoPE base x 1.1": ROPE,
    "RoPE base x 2": STRETCHED,
}
_TEMPLATES = {DOT: _one_more_dot, NO_SYSTEM: _without_default, CUT: _cut}


def _kv(name: str) -> Variant:
    return Variant(options=(f'cache_type_k = "{name}"', f'cache_type_v = "{name}"'))


def _in_folders(own: Variant) -> dict[str, Variant]:
    """What an engine that reads Hugging Face folders is compared with: *own* is its float32."""

    def other(**fields: object) -> Variant:
        return msgspec.structs.replace(own, **fields)

    return {
        "again": own,
        "BF16 arithmetic": other(options=(*own.options, 'dtype = "bfloat16"')),
        **{name: other(weights=partial(changed_hf, kind, FOLDER)) for name, kind in _WEIGHTS.items()},
        **{name: other(template=template) for name, template in _TEMPLATES.items()},
        "llama.cpp float32": Variant(),
    }


MLX = Variant(weights=smollm2_hf, backend="mlx")
VLLM = Variant(weights=smollm2_hf, backend="vllm", options=("cache_gib = 1",))
REFERENCES = {"llamacpp": Variant(), "mlx": MLX, "vllm": VLLM}
VARIANTS: dict[str, dict[str, Variant]] = {
    "llamacpp": {
        "again": Variant(),
        "steps of 512": Variant(options=("batch_tokens = 512",)),
        **{f"KV {name}": _kv(name) for name in ("bf16", "q8_0", "q4_0")},
        **{name: Variant(weights=partial(changed, kind, FOLDER)) for name, kind in _WEIGHTS.items()},
        "Q4_1, its source": Variant(weights=_q41),
        **{name: Variant(template=template) for name, template in _TEMPLATES.items()},
        "MLX float32": MLX,
        "vLLM float32": VLLM,
        "vLLM BF16": msgspec.structs.replace(VLLM, options=(*VLLM.options, 'dtype = "bfloat16"')),
        "MLX 4 bits": Variant(weights=partial(mlx_4_bits, FOLDER), backend="mlx"),
    },
    "mlx": {**_in_folders(MLX), "MLX 4 bits": Variant(weights=partial(mlx_4_bits, FOLDER), backend="mlx")},
    "vllm": _in_folders(VLLM),
}
