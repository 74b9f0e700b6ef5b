"""Asking an endpoint for single tokens with their alternatives, and fingerprints: what it answered, as a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from enginehouse_conformance.answer import Answer, Refusal, TokenEntry
from enginehouse_conformance.reading import read_answer
from enginehouse_conformance.targets import Body, Busy, Recording, Refused, Reply, ServerFailure, UrlTarget
from enginehouse_conformance.wire.faults import WireFault

from .prompts import prompts

FINGERPRINT_VERSION = 1
TOP = 20
LEAST_TOP = 5
_OFFERED = (TOP, 10, LEAST_TOP)
_DECIMALS = 4
_TRIES_FOR_EACH = 3
_ENOUGH_WITHOUT = 4
_NOTHING = -20.0
"""A token of that log probability never comes."""
_TELLING = re.compile(r"server|x-[\w-]*(version|instance|engine|backend|host|model|quant|provider)[\w-]*")
"""Headers that tell what answered; none that is another for each request."""


class CannotCompare(Exception):
    """An endpoint or file that cannot be compared; the message says which, and why."""


class Probe(msgspec.Struct, frozen=True):
    """A prompt, and what came: its count of tokens, and the log probabilities of the likeliest next ones."""

    prompt: str
    prompt_tokens: int | None
    top: dict[str, float]


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an endpoint answered to the prompts of a seed.

    `fields` is what was asked beside the prompt. `served_by` are the values of what tells of model and server: the
    answers' `model` and `system_fingerprint`, and headers. `left_out` counts prompts to which no log probabilities
    came, as where a first token ends inside a character.
    """

    fingerprint_version: int
    taken_at: str
    taken_by: str
    address: str
    model: str
    seed: int
    served_by: dict[str, list[str]]
    fields: dict[str, int | float | bool]
    left_out: int
    probes: list[Probe]

    @property
    def alternatives(self) -> int:
        """How many alternatives it gives at most."""
        return max((len(probe.top) for probe in self.probes), default=0)


class Asker:
    """Asks *target* for single tokens. What it refuses of a request is left out of the next ones, where that can be."""

    def __init__(self, target: UrlTarget) -> None:
        self.target = target
        self.left_out = 0
        self.probes: list[Probe] = []
        self._fields: Body = {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
        self._served_by: dict[str, set[str]] = {}
        self._given = 0

    async def ask(self, prompt: str) -> Probe | None:
        """What comes to *prompt*; None where the answer has no log probabilities, though others have them.

        Raises:
            CannotCompare: the endpoint does not answer, or gives no log probabilities or fewer than five.
        """
        probe = await self._probe(prompt)
        if probe is not None and not self._given and _is_after_temperature(probe):
            # At temperature 0 these are those of one certain token; at 1 they are the raw ones.
            self._fields["temperature"] = 1
            probe = await self._probe(prompt)
        if probe is None:
            self.left_out += 1
            if not self._given and self.left_out == _ENOUGH_WITHOUT:
                raise CannotCompare(
                    f"{self.target.base_url}: log probabilities were asked for, and {_ENOUGH_WITHOUT} answers have "
                    "none."
                )
        else:
            self._given += 1
        return probe

    def keep(self, probe: Probe) -> None:
        """Keep *probe* for the fingerprint."""
        self.probes.append(probe)

    def fingerprint(self, seed: int) -> Fingerprint:
        """The probes that were kept.

        Raises:
            CannotCompare: there are none, or too few alternatives.
        """
        if not self.probes:
            raise CannotCompare(f"{self.target.base_url}: no answer had log probabilities in `logprobs.content`.")
        found = Fingerprint(
            fingerprint_version=FINGERPRINT_VERSION,
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
            taken_by=f"enginehouse-conformance {version('enginehouse-conformance')}",
            address=self.target.base_url,
            model=self.target.model,
            seed=seed,
            served_by={name: sorted(values) for name, values in sorted(self._served_by.items())},
            fields=dict(self._fields),
            left_out=self.left_out,
            probes=self.probes,
        )
        if found.alternatives < LEAST_TOP:
            raise CannotCompare(
                f"{self.target.base_url}: gives {found.alternatives} alternatives of {LEAST_TOP} that are needed: "
                "with fewer, the figures that a comparison is judged by do not hold."
            )
        return found

    async def _probe(self, prompt: str) -> Probe | None:
        answer = await self._answer({"messages": [{"role": "user", "content": prompt}]})
        entries = answer.first.logprobs
        usage = answer.usage
        return Probe(prompt, usage.prompt_tokens if usage else None, top_of(entries[0])) if entries else None

    async def _answer(self, body: Body) -> Answer:
        target = self.target
        try:
            while True:
                try:
                    reply = await target.served(target.chat_request({**body, **self._fields}), Recording())
                    break
                except Refused as exc:
                    self._do_without(exc.refusal)
            answer = read_answer(reply.json())
            _ = answer.first
        except (Busy, ServerFailure, WireFault) as exc:
            raise CannotCompare(f"{target.base_url}: {exc}") from exc
        self._note(answer, reply)
        return answer

    def _do_without(self, refusal: Refusal) -> None:
        """Change the fields for the next request, or give up because of *refusal*."""
        fields = self._fields
        fewer = next((top for top in _OFFERED if top < fields["top_logprobs"]), None)
        if refusal.status in (401, 403):
            raise CannotCompare(f"{self.target.base_url}: refused, check the key: {refusal}")
        if fewer is not None and refusal.names("top_logprobs"):
            fields["top_logprobs"] = fewer
        elif "max_tokens" in fields and refusal.names("max_tokens"):
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        elif "temperature" in fields and refusal.names("temperature"):
            del fields["temperature"]
        elif refusal.names("logprobs", "top_logprobs"):
            raise CannotCompare(
                f"{self.target.base_url}: refuses log probabilities, without which nothing can be said: {refusal}"
            )
        else:
            raise CannotCompare(f"{self.target.base_url}: refused: {refusal}")

    def _note(self, answer: Answer, reply: Reply) -> None:
        told = {name: answer.raw.get(name) for name in ("model", "system_fingerprint")}
        told |= {name: value for name, value in reply.head.headers if _TELLING.fullmatch(name)}
        for name, value in told.items():
            if isinstance(value, str):
                self._served_by.setdefault(name, set()).add(self.target.redactor.text(value))


def top_of(entry: TokenEntry) -> dict[str, float]:
    """The alternatives of *entry* by what they are written as, the likeliest of each, rounded as in a file.

    A piece of a character is known by its bytes, and left out where the endpoint tells none.
    """
    found: dict[str, float] = {}
    for other in entry.top:
        name = other.token if other.token_bytes is None else other.token_bytes.decode("utf-8", "backslashreplace")
        if "\ufffd" not in name:
            found[name] = max(round(other.logprob, _DECIMALS), found.get(name, float("-inf")))
    return found


def _is_after_temperature(probe: Probe) -> bool:
    return len(probe.top) > 1 and sorted(probe.top.values())[-2] < _NOTHING


async def take(target: UrlTarget, *, seed: int, probes: int) -> Fingerprint:
    """The fingerprint of *target*: the first *probes* prompts of *seed* to which log probabilities come.

    Raises:
        CannotCompare: the endpoint does not answer, or gives too little.
    """
    asker = Asker(target)
    for prompt in prompts_for(seed, probes):
        probe = await asker.ask(prompt)
        if probe is not None:
            asker.keep(probe)
        if len(asker.probes) == probes:
            break
    return asker.fingerprint(seed)


def prompts_for(seed: int, probes: int) -> Iterator[str]:
    """The prompts of *seed* that are tried for so many *probes*: some more than that, as some may be left out."""
    source = prompts(seed)
    return (next(source) for _ in range(_TRIES_FOR_EACH * probes))


def encode(fingerprint: Fingerprint) -> bytes:
    """*fingerprint* as JSON, a line for each probe."""
    names = [name for name in fingerprint.__struct_fields__ if name != "probes"]
    facts = [b'"%b": ' % name.encode() + msgspec.json.encode(getattr(fingerprint, name)) for name in names]
    probes = b",\n".join(msgspec.json.encode(probe) for probe in fingerprint.probes)
    return b"{\n" + b",\n".join([*facts, b'"probes": [\n' + probes + b"\n]"]) + b"\n}\n"


def read_fingerprint(path: Path) -> Fingerprint:
    """The fingerprint in the file *path*.

    Raises:
        CannotCompare: there is none, or one of another version.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CannotCompare(f"{path}: {exc.strerror}") from exc
    try:
        found = msgspec.json.decode(data, type=_Version).fingerprint_version
        if found != FINGERPRINT_VERSION:
            raise CannotCompare(f"{path}: a fingerprint of version {found}; this reads version {FINGERPRINT_VERSION}.")
        return msgspec.json.decode(data, type=Fingerprint)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CannotCompare(f"{path}: no fingerprint: {exc}") from exc


class _Version(msgspec.Struct, frozen=True):
    fingerprint_version: int
