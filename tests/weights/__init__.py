"""Small weights for tests, made from the embedded model without torch, the same for every engine.

| function | what it is | size |
|---|---|---|
| `smollm2_hf(dtype)` | the embedded model, dequantised, as a Hugging Face folder | 538 MB (f32), 269 MB (bf16) |
| `smollm2_gguf_f32()` | the same f32 weights as one GGUF file | 540 MB |
| `tiny_hf()` | a small random model with the same tokenizer and template, f32 | 15 MB |
| `tiny_gguf()` | the same random weights as one GGUF file | 15 MB |
| `brief_hf()` | the random model with a context of 8,192 tokens and answers that end soon | 15 MB |
| `brief_gguf()` | the same as one GGUF file | 15 MB |
| `fill_hf()` | the random model with the tokens of one that fills in | 15 MB |
| `fill_gguf()` | the same as one GGUF file | 15 MB |
| `rank_hf()` | a small random reranker, and its tokenizer's words those of the embedded model, f32 | 13 MB |
| `rank_gguf()` | the same as one GGUF file | 13 MB |

Each is made once on a machine, into the cache of the weights, and is there whole or not at all; the name of its folder
holds a digest of what makes it, so a changed recipe makes it anew. `python -m tests.weights NAME` makes one (`NAMES`)
on the command line and prints its path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from enginehouse.weights import Progress, cache_folder, resolve
from enginehouse.weights.cache import writing
from enginehouse.weights.demo import DEMOS

__all__ = [
    "NAMES",
    "PATHS",
    "brief_gguf",
    "brief_hf",
    "fill_gguf",
    "fill_hf",
    "make",
    "rank_gguf",
    "rank_hf",
    "smollm2_gguf_f32",
    "smollm2_hf",
    "tiny_gguf",
    "tiny_hf",
]

_SOURCE = DEMOS["smollm2-135m"]
_SILENT = Progress()


def smollm2_hf(dtype: Literal["f32", "bf16"] = "f32") -> Path:
    """The folder of the embedded model, dequantised: `config.json`, `model.safetensors`, tokenizer and template."""
    return make(f"smollm2-hf-{dtype}")


def smollm2_gguf_f32() -> Path:
    """The file of the embedded model, dequantised: what llama.cpp needs to have the weights of `smollm2_hf("f32")`."""
    return make("smollm2-gguf-f32") / "smollm2-135m-f32.gguf"


def tiny_hf() -> Path:
    """The folder of a random model in f32: 2 layers, hidden size 64, context 2048, the embedded model's tokenizer."""
    return make("tiny-hf")


def tiny_gguf() -> Path:
    """The file of the model of `tiny_hf`, weight by weight the same."""
    return make("tiny-gguf") / "tiny-f32.gguf"


def brief_hf() -> Path:
    """The folder of a random model of 8,192 tokens that ends its answers soon."""
    return make("brief-hf")


def brief_gguf() -> Path:
    """The file of the model of `brief_hf`, weight by weight the same."""
    return make("brief-gguf") / "brief-f32.gguf"


def fill_hf() -> Path:
    """The folder of a random model whose vocabulary has tokens to fill in with: see `tests.weights.fill`."""
    return make("fill-hf")


def fill_gguf() -> Path:
    """The file of the model of `fill_hf`, weight by weight the same."""
    return make("fill-gguf") / "fill-f32.gguf"


def rank_hf() -> Path:
    """The folder of a random reranker of 512 tokens: see `tests.weights.rank`."""
    return make("rank-hf")


def rank_gguf() -> Path:
    """The file of the reranker of `rank_hf`, weight by weight the same."""
    return make("rank-gguf") / "rank-f32.gguf"


def make(name: str, progress: Progress = _SILENT) -> Path:
    """The folder called *name* (one of `NAMES`), made if it is not in the cache yet; other processes wait meanwhile."""
    build = NAMES[name]
    target = cache_folder() / "tests" / name / _recipe_digest(name)
    if target.is_dir():
        return target
    source = resolve(_SOURCE.source, progress=progress)
    assert source is not None
    with writing(target.parent, progress) as work:
        if not target.is_dir():  # another process may have been quicker
            build(source, work)
            work.rename(target)
            work.mkdir()  # `writing` removes it
    return target


def _recipe_digest(name: str) -> str:
    """Of the weights' source and of the modules that make them: when either changes, so does the folder."""
    digest = hashlib.sha256(_SOURCE.sha256.encode())
    own = [f"{kind}.py" for kind in ("brief", "fill", "rank") if name.startswith(f"{kind}-")]
    for module in ("gguf_files.py", "hugging_face.py", "llama.py", *own):
        digest.update(Path(__file__).with_name(module).read_bytes())
    return digest.hexdigest()[:16]


# What follows imports numpy and gguf only when something is made: a warm cache answers at once.


def _smollm2_hf_f32(source: Path, folder: Path) -> None:
    from . import gguf_files, hugging_face

    hugging_face.write(gguf_files.read(source), folder, dtype="f32")


def _smollm2_hf_bf16(source: Path, folder: Path) -> None:
    from . import gguf_files, hugging_face

    hugging_face.write(gguf_files.read(source), folder, dtype="bf16")


def _smollm2_gguf_f32(source: Path, folder: Path) -> None:
    from . import gguf_files

    gguf_files.write(gguf_files.read(source), folder / "smollm2-135m-f32.gguf")


def _tiny_hf(source: Path, folder: Path) -> None:
    from . import gguf_files, hugging_face, llama

    hugging_face.write(llama.random_model(gguf_files.read(source)), folder, dtype="f32")


def _tiny_gguf(source: Path, folder: Path) -> None:
    from . import gguf_files, llama

    gguf_files.write(llama.random_model(gguf_files.read(source)), folder / "tiny-f32.gguf")


def _brief_hf(source: Path, folder: Path) -> None:
    from . import brief, gguf_files, hugging_face

    hugging_face.write(brief.brief_model(gguf_files.read(source)), folder, dtype="f32")


def _brief_gguf(source: Path, folder: Path) -> None:
    from . import brief, gguf_files

    gguf_files.write(brief.brief_model(gguf_files.read(source)), folder / "brief-f32.gguf")


def _fill_hf(source: Path, folder: Path) -> None:
    from . import fill, gguf_files, hugging_face

    hugging_face.write(fill.fill_model(gguf_files.read(source)), folder, dtype="f32")


def _fill_gguf(source: Path, folder: Path) -> None:
    from . import fill, gguf_files

    gguf_files.write(fill.fill_model(gguf_files.read(source)), folder / "fill-f32.gguf")


def _rank_hf(source: Path, folder: Path) -> None:
    from . import gguf_files, rank

    rank.write_hf(gguf_files.read(source), tiny_hf(), folder)


def _rank_gguf(source: Path, folder: Path) -> None:
    from . import gguf_files, rank

    rank.write_gguf(gguf_files.read(source), folder / "rank-f32.gguf")


NAMES: dict[str, Callable[[Path, Path], None]] = {
    "smollm2-hf-f32": _smollm2_hf_f32,
    "smollm2-hf-bf16": _smollm2_hf_bf16,
    "smollm2-gguf-f32": _smollm2_gguf_f32,
    "tiny-hf": _tiny_hf,
    "tiny-gguf": _tiny_gguf,
    "brief-hf": _brief_hf,
    "brief-gguf": _brief_gguf,
    "fill-hf": _fill_hf,
    "fill-gguf": _fill_gguf,
    "rank-hf": _rank_hf,
    "rank-gguf": _rank_gguf,
}
"""What can be made, and what makes it in an empty folder."""

PATHS: dict[str, Callable[[], Path]] = {
    "smollm2-hf-f32": smollm2_hf,
    "smollm2-hf-bf16": lambda: smollm2_hf("bf16"),
    "smollm2-gguf-f32": smollm2_gguf_f32,
    "tiny-hf": tiny_hf,
    "tiny-gguf": tiny_gguf,
    "brief-hf": brief_hf,
    "brief-gguf": brief_gguf,
    "fill-hf": fill_hf,
    "fill-gguf": fill_gguf,
    "rank-hf": rank_hf,
    "rank-gguf": rank_gguf,
}
"""The same names, and what an engine is given of each."""
