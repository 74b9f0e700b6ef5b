from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from enginehouse.cli.commands.chat import Conversation
from enginehouse.cli.shared.client import ServerError, connect

from .conftest import Run, Scripted, command_line


def test_one_question_gets_one_answer_on_standard_output(enginehouse: Run, scripted: Scripted) -> None:
    scripted.says("Par", "is", ".")
    done = enginehouse(
        "chat",
        "--url",
        scripted.url,
        "-s",
        "Be brief.",
        "--temperature",
        "0",
        "--max-tokens",
        "9",
        "Capital",
        "of",
        "France?",
    )
    assert (done.code, done.out) == (0, "Paris.\n")
    assert scripted.asked == [
        {
            "model": "first/one",
            "temperature": 0.0,
            "max_tokens": 9,
            "stream": True,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Capital of France?"},
            ],
        }
    ]


def test_the_question_may_be_piped_and_the_key_comes_from_the_environment(scripted: Scripted) -> None:
    scripted.says("yes")
    environment = {**os.environ, "ENGINEHOUSE_URL": scripted.url, "ENGINEHOUSE_API_KEY": "s3cret"}
    done = command_line("chat", "--model", "second", input="Is it?", env=environment)
    assert (done.returncode, done.stdout) == (0, "yes\n")
    assert scripted.asked[0]["messages"] == [{"role": "user", "content": "Is it?"}]
    assert scripted.asked[0]["model"] == "second"
    assert scripted.keys == ["Bearer s3cret"]


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (404, {}, "The model 'x' does not exist (status 404)."),
        (503, {"Retry-After": "7"}, "(status 503). Try again in 7 s."),
    ],
)
def test_a_refusal_is_one_readable_line(
    enginehouse: Run, scripted: Scripted, status: int, headers: dict[str, str], words: str
) -> None:
    scripted.refuses("/v1/chat/completions", status, "The model 'x' does not exist.", **headers)
    done = enginehouse("chat", "--url", scripted.url, "-m", "x", "hi")
    assert done.code == 1
    assert words in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (b'data: {"error": {"message": "The engine died."}}\n\n', "The engine died."),
        (b"", "The connection ended before the answer did."),
    ],
)
def test_a_reply_that_breaks_off_is_an_error(enginehouse: Run, scripted: Scripted, end: bytes, words: str) -> None:
    scripted.says("half", end=end)
    done = enginehouse("chat", "--url", scripted.url, "hi")
    assert (done.code, done.out) == (1, "half\n")
    assert words in done.err


def test_no_server_is_told_with_the_command_that_starts_one(enginehouse: Run) -> None:
    done = enginehouse("chat", "--url", "http://127.0.0.1:9", "hi")
    assert done.code == 1
    assert "enginehouse serve" in done.err


def test_a_url_without_scheme_is_wrong_usage(enginehouse: Run) -> None:
    assert enginehouse("chat", "--url", "localhost:8000", "hi").code == 2


def test_what_is_no_chat_server_is_told(enginehouse: Run, scripted: Scripted) -> None:
    scripted.replies["/v1/models"] = (200, {"Content-Type": "text/html"}, b"<html>hello</html>")
    assert "does not answer like" in enginehouse("chat", "--url", scripted.url, "hi").err


@pytest.mark.parametrize(
    ("options", "words"), [((), "--max-tokens cuts sooner"), (("--max-tokens", "1"), "--max-tokens was reached")]
)
def test_a_cut_reply_says_what_cut_it(
    enginehouse: Run, scripted: Scripted, options: tuple[str, ...], words: str
) -> None:
    scripted.says("long", finish="length")
    done = enginehouse("chat", "--url", scripted.url, *options, "hi")
    assert done.out == "long\n"
    assert words in done.err


def test_a_conversation_remembers_replies_and_forgets_failures(scripted: Scripted) -> None:
    with connect(scripted.url, None) as client:
        conversation = Conversation(client, {"model": "m"}, "Be kind.")
        scripted.says("one")
        conversation.ask("1?")
        scripted.says("half", end=b"")
        with pytest.raises(ServerError):
            conversation.ask("2?")
        scripted.says("three")
        conversation.ask("3?")
    assert [message["content"] for message in conversation.messages] == ["Be kind.", "1?", "one", "3?", "three"]
    conversation.reset()
    assert [message["content"] for message in conversation.messages] == ["Be kind."]


@contextlib.contextmanager
def terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command line on a terminal of its own, where Ctrl-C works."""
    parent, child = pty.openpty()
    script = "from enginehouse.cli import main; main()"

    def take_terminal() -> None:
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job is started with it ignored

    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        preexec_fn=take_terminal,
        env={**os.environ, "TERM": "dumb"},
    )
    os.close(child)
    try:
        yield process, parent
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(parent)


def read_until(terminal: int, text: str) -> str:
    """Read what the terminal shows until *text*; the limit is a guard against a hang."""
    seen = b""
    while text.encode() not in seen:
        ready, _, _ = select.select([terminal], [], [], 120)
        assert ready, f"the terminal shows no {text!r}, but {seen!r}"
        seen += os.read(terminal, 1024)
    return seen.decode()


def press_until(terminal: int, key: bytes, text: str) -> None:
    """Press *key* as a person would: again, where the program was not listening yet."""
    for _ in range(10):
        os.write(terminal, key)
        ready, _, _ = select.select([terminal], [], [], 3)
        if ready:
            read_until(terminal, text)
            return
    raise AssertionError(f"{key!r} does nothing")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_the_conversation_goes_on_until_ctrl_d(scripted: Scripted) -> None:
    scripted.says("hello")
    with terminal("chat", "--url", scripted.url) as (process, screen):
        assert "first/one" in read_until(screen, "> ")
        os.write(screen, b"hi\n")
        assert "hello" in read_until(screen, "\n> ")
        press_until(screen, b"\x03", "\n> ")
        scripted.refuses("/v1/chat/completions", 400, "No.")
        os.write(screen, b"again\n")
        assert "Error: No (status 400)." in read_until(screen, "\n> ")
        os.write(screen, b"\x04")
        assert process.wait(timeout=60) == 0
    assert len(scripted.asked) == 2
