"""Taking fingerprints: single tokens with their alternatives, as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import msgspec

from enginehouse_plugin.threadsafe import threadsafe

from .prompts import long_prompts, prompts

FINGERPRINT_VERSION = 1
TOP = 20
LEAST_TOP = 5
_DECIMALS = 4
_TRIES_FOR_EACH = 3
_ENOUGH_WITHOUT = 4
_NOTHING = -20.0
"""A token of that log probability never comes."""


class CannotCompare(Exception):
    """An endpoint or file that cannot be compared; the message says which, and why."""


class Probe(msgspec.Struct, frozen=True):
    """A prompt, and what came: its count of tokens, and the log probabilities of the likeliest next ones."""

    prompt: str
    prompt_tokens: int | None
    top: dict[str, float]


@threadsafe
class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an endpoint answered to the prompts of a seed.

    `fields` is what was asked beside the prompt. `served_by` are the values of what tells of model and server: the
    answers' `model` and `system_fingerprint`, and headers. `left_out` counts prompts to which no log probabilities
    came, as where a first token ends inside a character. `noise` is how far the answers were from the first ones when
    all was asked once more, as D; None: it was not.
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
    noise: float | None = None

    @property
    def alternatives(self) -> int:
        """How many alternatives it gives at most."""
        return max((len(probe.top) for probe in self.probes), default=0)


class Asker(ABC):
    """Asks *model* at *address* for single tokens; these are how messages and fingerprints call it.

    `fields` is what is asked for beside the prompt, and `served_by` what was told of who answers.
    """

    def __init__(self, address: str, model: str) -> None:
        self.address = address
        self.model = model
        self.left_out = 0
        self.probes: list[Probe] = []
        self.fields: dict[str, int | float | bool] = {
            "temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": TOP,
        }  # fmt: skip
        self.served_by: dict[str, set[str]] = {}
        self._given = 0

    @abstractmethod
    async def probe(self, prompt: str) -> Probe | None:
        """What comes to *prompt*; None where the answer has no log probabilities.

        Raises:
            CannotCompare: it does not answer, or refuses log probabilities.
        """

    async def ask(self, prompt: str) -> Probe | None:
        """What comes to *prompt*; None where the answer has no log probabilities, though others have them.

        Raises:
            CannotCompare: it does not answer, or gives no log probabilities.
        """
        probe = await self.probe(prompt)
        if probe is not None and not self._given and _is_after_temperature(probe):
            # At temperature 0 these are those of one certain token; at 1 they are the raw ones.
            self.fields["temperature"] = 1
            probe = await self.probe(prompt)
        if probe is None:
            self.left_out += 1
            if not self._given and self.left_out == _ENOUGH_WITHOUT:
                raise CannotCompare(
                    f"{self.address}: log probabilities were asked for, and {_ENOUGH_WITHOUT} answers have none."
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
            raise CannotCompare(f"{self.address}: no answer had log probabilities in `logprobs.content`.")
        found = Fingerprint(
            fingerprint_version=FINGERPRINT_VERSION,
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
            taken_by=f"enginehouse-conformance {version('enginehouse-conformance')}",
            address=self.address,
            model=self.model,
            seed=seed,
            served_by={name: sorted(values) for name, values in sorted(self.served_by.items())},
            fields=dict(self.fields),
            left_out=self.left_out,
            probes=self.probes,
        )
        if found.alternatives < LEAST_TOP:
            raise CannotCompare(
                f"{self.address}: gives {found.alternatives} alternatives of {LEAST_TOP} that are needed: "
                "with fewer, the figures that a comparison is judged by do not hold."
            )
        return found


class Token(Protocol):
    """A token with its log probability, by whatever type the one who asks has."""

    @property
    def token(self) -> str:
        """As it is written."""
        ...

    @property
    def token_bytes(self) -> bytes | None:
        """Its bytes, where they are told."""
        ...

    @property
    def logprob(self) -> float:
        """Natural."""
        ...


def top_of(tokens: Iterable[Token]) -> dict[str, float]:
    """The alternatives *tokens* by what they are written as, the likeliest of each, rounded as in a file.

    A piece of a character is known by its bytes, and left out where the endpoint tells none.
    """
    found: dict[str, float] = {}
    for other in tokens:
        name = other.token if other.token_bytes is None else other.token_bytes.decode("utf-8", "backslashreplace")
        if "\ufffd" not in name:
            found[name] = max(round(other.logprob, _DECIMALS), found.get(name, float("-inf")))
    return found


def _is_after_temperature(probe: Probe) -> bool:
    return len(probe.top) > 1 and sorted(probe.top.values())[-2] < _NOTHING


async def take_fingerprint(asker: Asker, *, seed: int, probes: int, prompt_tokens: int | None = None) -> Fingerprint:
    """What *asker* is told to the first *probes* prompts of *seed* to which log probabilities come.

    They have about *prompt_tokens*, or are short.

    Raises:
        CannotCompare: it does not answer, or gives too little.
    """
    for prompt in prompts_for(seed, probes, prompt_tokens):
        probe = await asker.ask(prompt)
        if probe is not None:
            asker.keep(probe)
        if len(asker.probes) == probes:
            break
    return asker.fingerprint(seed)


def prompts_for(seed: int, probes: int, tokens: int | None = None) -> Iterator[str]:
    """The prompts of *seed* that are tried for so many *probes*: some more than that, as some may be left out.

    They are short, or have about so many *tokens*.
    """
    source = prompts(seed) if tokens is None else long_prompts(seed, tokens)
    return (next(source) for _ in range(_TRIES_FOR_EACH * probes))


def encode_fingerprint(fingerprint: Fingerprint) -> bytes:
    """*fingerprint* as JSON, a line for each probe."""
    names = [name for name in fingerprint.__struct_fields__ if name != "probes"]
    names = [name for name in names if getattr(fingerprint, name) is not None]
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


@threadsafe
class _Version(msgspec.Struct, frozen=True):
    fingerprint_version: int
