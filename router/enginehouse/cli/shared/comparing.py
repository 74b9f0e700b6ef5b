"""What `enginehouse compare` compares, by the suite's public face; the command imports this when it is used."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
from pathlib import Path

import click
import msgspec

from enginehouse.cli.shared.admin import AdminClient
from enginehouse.cli.shared.client import ServerError
from enginehouse_conformance import (
    BAND_OF,
    Asker,
    CannotCompare,
    Comparison,
    Probe,
    UrlAsker,
    UrlTarget,
    compare_sides,
    read_fingerprint,
    top_of,
)

_PLACE = r"(#[a-z]*[0-9]+|@.+)"
"""What stands behind the model in the name of one instance: `model#0`, `model@host`."""
_TIMEOUT_S = 60.0


class NotCompared(click.ClickException):
    """The two could not be compared; the message says why."""

    exit_code = 2


class Named(msgspec.Struct, frozen=True):
    """A side as it was written, with what is said of it beside: the model to ask for, and where its key stands."""

    word: str
    model: str | None
    key_env: str | None

    @property
    def is_url(self) -> bool:
        """Whether it is the URL of an API."""
        return "://" in self.word

    @property
    def is_file(self) -> bool:
        """Whether it is a stored fingerprint."""
        return not self.is_url and (self.word.endswith(".json") or Path(self.word).is_file())

    @property
    def is_host(self) -> bool:
        """Whether it is a host alone, `@mac`."""
        return self.word.startswith("@")

    @property
    def meant(self) -> str | None:
        """The model that it names, if it does."""
        if self.model is not None or self.is_url or self.is_file or self.is_host:
            return self.model
        return _model_in(self.word)


def compared(
    a: Named, b: Named, client: AdminClient, server: UrlTarget, *, seed: int | None, probes: int
) -> Comparison:
    """Ask both sides for the same tokens; instances by *client*, models at *server*, whose own model is no matter.

    Raises:
        NotCompared: that is not possible.
    """
    try:
        stored = [read_fingerprint(Path(side.word)) if side.is_file else None for side in (a, b)]
        of_file = next((each for each in stored if each is not None), None)
        if of_file is not None and seed not in (None, of_file.seed):
            raise NotCompared(f"--seed: the fingerprint is of the seed {of_file.seed}, whose prompts are asked again.")
        known = [side.meant for side in (a, b)] + [of_file.model if of_file is not None else None]
        model = next((each for each in known if each is not None), None)
        one, other = (
            each if each is not None else _asker(side, side.meant or model, client, server)
            for each, side in zip(stored, (a, b), strict=True)
        )
        drawn = secrets.randbelow(2**31) if seed is None else seed
        return asyncio.run(compare_sides(one, other, seed=drawn, probes=probes))
    except CannotCompare as error:
        raise NotCompared(str(error)) from error


def _asker(side: Named, model: str | None, client: AdminClient, server: UrlTarget) -> Asker:
    if model is None:
        raise NotCompared(f"'{side.word}' names no model, and the other side neither: give --model.")
    if side.is_url:
        key = _key(side.key_env)
        return UrlAsker(UrlTarget(side.word, model=model, key=key, timeout_s=_TIMEOUT_S))
    word = f"{model}{side.word}" if side.is_host else side.word
    if re.fullmatch(f".+{_PLACE}", word):
        return AdminAsker(client, word)
    return UrlAsker(UrlTarget(server.base_url, model=word, key=server.key, timeout_s=_TIMEOUT_S))


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (key := os.environ.get(variable)):
        raise NotCompared(f"--key-env: the environment variable {variable} is not set or empty.")
    return key


def is_within(found: Comparison, band: str) -> bool:
    """Whether the sides of *found* are no farther apart than *band*, which may be `any`."""
    return band == "any" or any(found.is_within(one.name) for one in BAND_OF.values() if one.name == band)


def _model_in(word: str) -> str:
    """The model that the name of an instance begins with."""
    return re.sub(f"{_PLACE}$", "", word)


class AdminAsker(Asker):
    """Asks one instance of a running server by its routes for admins, also one that takes no requests."""

    def __init__(self, client: AdminClient, instance: str) -> None:
        super().__init__(instance, _model_in(instance))
        self._client = client
        try:
            listed = client.ask("GET", "/admin/instances")["instances"]
        except ServerError as error:
            raise CannotCompare(f"{instance}: {error.message}") from error
        shown = next((one for one in listed if one["id"] == instance), None)
        if shown is None:
            known = ", ".join(one["id"] for one in listed) or "none"
            raise CannotCompare(f"There is no instance '{instance}'. There are: {known}.")
        for name in ("backend", "source", "placement"):
            self.served_by[name] = {str(shown[name])}

    async def probe(self, prompt: str) -> Probe | None:
        """See `Asker.probe`."""
        body = {"instance": self.address, "prompt": prompt}
        try:
            told = await asyncio.to_thread(self._client.ask, "POST", "/admin/probe", body)
        except ServerError as error:
            raise CannotCompare(f"{self.address}: {error.message}") from error
        if told["top"] is None:
            return None
        tokens = [_Token(one["token"], base64.b64decode(one["token_bytes"]), one["logprob"]) for one in told["top"]]
        return Probe(prompt, told["prompt_tokens"], top_of(tokens))


class _Token(msgspec.Struct, frozen=True):
    token: str
    token_bytes: bytes | None
    logprob: float
