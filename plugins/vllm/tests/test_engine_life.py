"""Loading, its failures, and the end of vLLM's processes, each with engines of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.asking import ask
from tests.integration.raw import NO_END, Raw, metric, wait_until
from tests.integration.served import Served

from enginehouse_plugin import LoadProgress, Placement
from enginehouse_plugin.errors import ContextTooLong, EngineMissing, EngineUnavailable, LoadFailed
from enginehouse_vllm.backend import VllmBackend

from .conftest import CPU, Place
from .test_engine_answers import NO_END as ENDLESS
from .test_engine_answers import WEATHER

pytestmark = pytest.mark.engine

_LOAD_S = 900.0
TEMPLATE = """{% if tools %}<|im_start|>system
Tools: {{ tools | tojson }} Call them as <tool_call>{"name": "x", "arguments": {}}</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] %}{{ call | tojson }}{% endfor %}<|im_end|>
{% endfor %}<|im_start|>assistant
"""


def below(pid: int) -> list[psutil.Process]:
    """The processes below *pid*."""
    return psutil.Process(pid).children(recursive=True)


async def test_an_engine_that_cannot_start_says_why_and_is_not_tried_again(
    placement: Place, engine_python: str, tiny: Path, tmp_path: Path, is_long: bool
) -> None:
    """Each cause has its code, its fix and the engine's last words. A start each; in a long run, all of them."""

    def changed(name: str, **config: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(tiny, folder)
        known = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**known, **config}))
        return folder

    unknown = changed("unknown", model_type="nosuchmodel", architectures=["NoSuchForCausalLM"])
    other = changed("other", hidden_size=96, num_attention_heads=3)
    cases: list[tuple[Placement, str, str]] = [
        (placement(python=engine_python, extra_arguments=("--no-such-flag",)), "bad_options", "--no-such-flag"),
        (placement(unknown, python=engine_python), "unknown_architecture", "nosuchmodel"),
        (placement(other, python=engine_python), "bad_weights", ""),
    ]
    for place, code, word in cases if is_long else cases[1:2]:
        with pytest.raises(LoadFailed) as caught:
            await VllmBackend().load(place, (CPU,), lambda _: None)
        assert caught.value.code == code, caught.value.last_words
        assert not caught.value.retryable
        assert caught.value.last_words
        assert word in "\n".join(caught.value.last_words)


async def test_a_load_that_is_cancelled_leaves_nothing_behind(placement: Place, engine_python: str) -> None:
    begun = asyncio.Event()

    def watch(stage: LoadProgress) -> None:
        if stage.stage == "starting the engine":
            begun.set()

    others = set(psutil.Process().children(recursive=True))  # the engine that other tests share
    loading = asyncio.create_task(VllmBackend().load(placement(python=engine_python), (CPU,), watch))
    async with asyncio.timeout(_LOAD_S):
        await begun.wait()
    mine = set(psutil.Process().children(recursive=True)) - others
    assert mine
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    wait_until(lambda: not any(process.is_running() for process in mine), "all processes of the engine are gone")


async def test_calls_and_reasoning_in_a_form_of_vllms_own_are_read_by_its_parsers(
    placement: Place, engine_python: str
) -> None:
    """The chat route: the same meaning as over token ids, as far as the tiny model can tell."""
    progress: list[LoadProgress] = []
    place = placement(python=engine_python, tool_parser="hermes", reasoning_parser="granite", chat_template=TEMPLATE)
    instance = await VllmBackend().load(place, (CPU,), progress.append)
    try:
        fractions = [stage.fraction for stage in progress if stage.fraction is not None]
        assert fractions == sorted(fractions)
        assert progress[-1] == LoadProgress(stage="ready", fraction=1.0)
        assert len(progress) >= 5

        plain = await ask(instance, max_tokens=8, logit_bias=ENDLESS)
        assert plain.text
        assert plain.usage is not None
        assert plain.usage.completion_tokens == 8
        assert plain.reason == "length"
        again = await ask(instance, max_tokens=8, logit_bias=ENDLESS, n=2, stop=(plain.text[4:6],))
        assert [choice.text for choice in again.choices] == [plain.text[: plain.text.index(plain.text[4:6])]] * 2
        with_logprobs = await ask(instance, max_tokens=4, logit_bias=ENDLESS, logprobs=True, top_logprobs=2)
        assert [len(token.top) for token in with_logprobs.logprobs] == [2] * 4
        assert with_logprobs.logprobs[0].token_bytes.decode(errors="replace") == with_logprobs.logprobs[0].token

        free = await ask(instance, tools=(WEATHER,), tool_choice="auto", max_tokens=8, logit_bias=ENDLESS)
        assert free.text
        assert free.started is not None
        assert plain.started is not None
        assert free.started.prompt_tokens > plain.started.prompt_tokens + 20

        with pytest.raises(ContextTooLong) as caught:  # vLLM itself would cut the number
            await ask(instance, max_tokens=2048, max_tokens_must_fit=True)
        assert caught.value.max_tokens == 2048
        assert caught.value.is_lower_bound or caught.value.prompt_tokens == plain.started.prompt_tokens

        for much in (2000, 32_000):
            whole = await ask(instance, "word " * 1950, max_tokens=much, logit_bias=ENDLESS)
            assert whole.usage is not None
            assert whole.reason == "length"
            assert whole.usage.prompt_tokens + whole.usage.completion_tokens == 2048

        processes = below(instance._child.pid)
        assert len(processes) >= 2  # engine core and worker
    finally:
        await instance.unload()
    wait_until(lambda: not any(process.is_running() for process in processes), "all processes are gone")
    report = await instance.wait_closed()
    assert report.is_expected
    with pytest.raises(EngineUnavailable):
        await ask(instance)


@pytest.fixture
def served(tiny: Path, engine_python: str, tmp_path: Path) -> Iterator[Served]:
    """A router with the tiny model on vLLM."""
    config = f"""
[server]
port = 0
[models.tiny]
context_tokens = 512
[[models.tiny.placements]]
backend = "vllm"
source = "{tiny}"
python = "{engine_python}"
options = {{ max_sequences = 4, cache_gib = 1 }}
"""
    server = Served(config, tmp_path)
    try:
        yield server
        assert server.end() == 0, server.text()
    finally:
        server.close()


def wait_for_load(served: Served, times: int) -> None:
    """Wait until the model has loaded for the time with this number."""
    ends_at = time.monotonic() + _LOAD_S
    while sum(line.get("event") == "instance ready" for line in served.log) < times:
        assert time.monotonic() < ends_at, served.text()
        time.sleep(0.05)


def api_server(served: Served) -> psutil.Process:
    (server,) = [child for guardian in psutil.Process(served.pid).children() for child in guardian.children()]
    return server


def named(words: str) -> Callable[[Served], psutil.Process]:
    """Finds a process of vLLM by the title that it gives itself."""

    def find(served: Served) -> psutil.Process:
        found = [process for process in below(served.pid) if words in " ".join([process.name(), *process.cmdline()])]
        assert found, [(process.name(), process.cmdline()) for process in below(served.pid)]
        return found[0]

    return find


def test_each_process_that_is_killed_is_noticed_cleaned_up_and_restarted(served: Served, is_long: bool) -> None:
    """A stream that runs ends with an error. Each costs a start; in a long run, all of them, one after another."""
    victims = (named("Worker"), named("EngineCore"), api_server) if is_long else (named("EngineCore"),)
    for times, find in enumerate(victims, start=1):
        wait_for_load(served, times)
        processes = below(served.pid)
        assert len(processes) >= 4  # guardian, API server, engine core, worker
        with Raw(served.address) as client:
            client.ask(model="tiny", stream=True, max_tokens=400, logit_bias=NO_END)
            events = client.events()
            next(events)
            find(served).send_signal(signal.SIGKILL)
            *_, last = list(events)
        assert "error" in json.loads(last)
        wait_until(
            lambda processes=processes: not any(process.is_running() for process in processes),
            "the old processes are gone, all of them",
        )
    # That a start follows is seen where there are more victims: the last one need not be waited for.
    wait_until(
        lambda: metric(served, "enginehouse_instance_restarts_total", "tiny") == len(victims), "the last one is noticed"
    )


async def test_an_environment_without_vllm_says_how_to_make_one(placement: Place, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="There is no interpreter '/no/python'"):
        await VllmBackend().load(placement(python="/no/python"), (CPU,), lambda _: None)
