"""What is decided of texts before the engine is asked."""

from __future__ import annotations

import pytest

from enginehouse_llamacpp import gguf, start
from enginehouse_llamacpp.options import LlamaCppOptions
from enginehouse_plugin import Placement, Task
from enginehouse_plugin.errors import LoadFailed


def header(pooling: int | None, architecture: str = "llama") -> gguf.Gguf:
    told = {} if pooling is None else {f"{architecture}.pooling_type": pooling}
    return gguf.Gguf({"general.architecture": architecture, **told}, 0)


def placement(task: Task | None) -> Placement:
    return Placement(model="m", backend="llamacpp", source="m.gguf", task=task)


@pytest.mark.parametrize(
    ("pooling", "architecture", "said", "task", "found"),
    [
        (None, "llama", None, "chat", None),
        (3, "qwen3", None, "embed", "last"),
        (3, "qwen3", "chat", "chat", None),
        (2, "bert", None, "embed", "cls"),
        (4, "bert", None, "rerank", "rank"),
        (1, "llama", "embed", "embed", "mean"),
        (None, "bert", "rerank", "rerank", "rank"),
    ],
)
def test_owner_or_weights_say_the_task(
    pooling: int | None, architecture: str, said: Task | None, task: Task, found: str | None
) -> None:
    model = header(pooling, architecture)
    assert start.task_of(placement(said), model) == task
    assert start.pooling(placement(said), LlamaCppOptions(), model) == found


def test_the_option_says_how_where_weights_do_not() -> None:
    assert start.pooling(placement("embed"), LlamaCppOptions(pooling="mean"), header(None)) == "mean"
    with pytest.raises(LoadFailed, match="option pooling"):
        start.pooling(placement("embed"), LlamaCppOptions(), header(None))
    with pytest.raises(LoadFailed, match="option pooling"):
        start.pooling(placement(None), LlamaCppOptions(), header(None, "bert"))
