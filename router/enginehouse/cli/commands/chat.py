"""`enginehouse chat`."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from enginehouse.cli.shared.client import Client, ServerError, connect, key_option, url_option
from enginehouse.cli.shared.named import Named, check_named, named_options
from enginehouse.cli.shared.numbers import Number
from enginehouse.cli.shared.output import plain
from enginehouse.cli.shared.own_server import serving
from enginehouse.weights import looks_wanted

_EPILOG = """\b
Examples:
  enginehouse chat "What is gravity?"
  enginehouse chat weights/model.gguf
  enginehouse chat --model smollm2-135m --system "Answer in one word."
  echo "Summarise: …" | enginehouse chat

\b
In a conversation: Ctrl-C ends a reply, /reset forgets what was said, Ctrl-D or /exit leaves.
"""


@click.command(epilog=_EPILOG)
@click.argument("message", nargs=-1, metavar="[MODEL] [MESSAGE]...")
@named_options
@url_option
@key_option
@click.option("--model", "-m", help="Model ID; without one, the server's first.")
@click.option("--system", "-s", help="Instructions for the whole conversation.")
@click.option("--temperature", type=Number(0, 2), help="0 is greedy; without it, the server's default.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest reply, in tokens.")
def command(
    message: tuple[str, ...],
    names: tuple[str, ...],
    context: int | None,
    backend: str | None,
    device: str | None,
    settings: tuple[str, ...],
    url: str | None,
    key: str | None,
    model: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Talk to a model of a running server, or to MODEL without one: a GGUF file, a folder with safetensors,
    hub:ORG/REPO[@REVISION][:QUANT] or demo:NAME. With MESSAGE (or piped input): one question, one answer.
    """
    named = Named(
        models=message[:1] if message and looks_wanted(message[0]) else (),
        names=names,
        context=context,
        backend=backend,
        device=device,
        settings=settings,
    )
    check_named(click.get_current_context(), named)
    asked: dict[str, Any] = {}
    if temperature is not None:
        asked["temperature"] = temperature
    if max_tokens is not None:
        asked["max_tokens"] = max_tokens
    with contextlib.ExitStack() as stack:
        if named.models:
            if url or model:
                raise click.UsageError("--url and --model are of a running server: leave MODEL out, or them.")
            url = stack.enter_context(serving(named))
            message = message[1:]
        client = stack.enter_context(connect(url, key))
        asked["model"] = model or _first_model(client)
        conversation = Conversation(client, asked, system)
        if message:
            conversation.ask(" ".join(message))
        elif not sys.stdin.isatty():
            conversation.ask(sys.stdin.read())
        else:
            _converse(conversation, asked["model"])


class Conversation:
    """What was said so far. A reply that was ended early counts as far as it came; one that failed does not."""

    def __init__(self, client: Client, settings: dict[str, Any], system: str | None) -> None:
        self._client = client
        self._settings = settings
        self._start = [{"role": "system", "content": system}] if system else []
        self.messages = list(self._start)

    def reset(self) -> None:
        """Forget all but the instructions."""
        self.messages = list(self._start)

    def ask(self, text: str) -> None:
        """Send *text* and print the reply as it comes.

        Raises:
            ServerError: the server refused or failed; *text* is then forgotten.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        parts: list[str] = []
        finish = None
        stream = self._client.stream({**self._settings, "messages": messages})
        try:
            for chunk in stream:
                for choice in chunk.get("choices") or ():
                    part = (choice.get("delta") or {}).get("content") or ""
                    finish = choice.get("finish_reason") or finish
                    parts.append(part)
                    click.echo(plain(part) if sys.stdout.isatty() else part, nl=False)
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            click.secho(" [ended]", dim=True, nl=False, err=True)
        finally:
            stream.close()  # type: ignore[attr-defined]  # a generator, said to be an iterator
            click.echo()
        if finish == "length":
            click.secho(f"[cut: {self._why_cut()}]", dim=True, err=True)
        self.messages = [*messages, {"role": "assistant", "content": "".join(parts)}] if any(parts) else self.messages

    def _why_cut(self) -> str:
        # A small model that repeats itself does so until there is no room: minutes of the same words.
        if "max_tokens" in self._settings:
            return "--max-tokens was reached"
        return "the model's context, or the longest reply that is configured, was full; --max-tokens cuts sooner"


def _first_model(client: Client) -> str:
    models = client.models()
    if not models:
        raise ServerError("The server has no models.")
    return str(models[0].get("id"))


def _converse(conversation: Conversation, model: str) -> None:
    import readline  # noqa: F401 # gives input() editing and history

    click.secho(f"{model}: Ctrl-C ends a reply, /reset forgets, Ctrl-D leaves.", dim=True, err=True)
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo()
            continue
        if text in ("/exit", "/quit"):
            return
        if text == "/reset":
            conversation.reset()
        elif text:
            try:
                conversation.ask(text)
            except ServerError as error:
                error.show()
