"""Faults about texts, written as a round of blind faults: messages that are cut, blanks that change."""

from __future__ import annotations

import re

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant


def with_text(body, change, *roles):
    """*body* with each text of messages of *roles* changed, those in parts too."""
    for message in body.get("messages") or ():
        if not isinstance(message, dict) or message.get("role") not in roles:
            continue
        parts = message["content"] if isinstance(message.get("content"), list) else [message]
        key = "content" if parts == [message] else "text"
        for part in parts:
            if isinstance(part, dict) and isinstance(part.get(key), str):
                part[key] = change(part[key])
    return body


class CutsLongMessages(Behaviour):
    """A message of some role is cut after 1,000 characters."""

    roles: tuple[str, ...] = ()

    def decode(self, data):
        return with_text(super().decode(data), lambda text: text[:1000], *self.roles)


@mutant(kills=("MSG32",))
class CutsTheSystem(CutsLongMessages):
    """System messages are cut after 1,000 characters."""

    roles = ("system",)


@mutant(kills=("MSG32",))
class CutsTheAssistant(CutsLongMessages):
    """Answers of the history are cut after 1,000 characters."""

    roles = ("assistant",)


@mutant(kills=("MSG32",), may_kill=("LEN*",))
class CutsTheTool(CutsLongMessages):
    """Results of tools are cut after 1,000 characters."""

    roles = ("tool",)


@mutant(kills=("MSG33",))
class DropsCarriageReturns(Behaviour):
    """Line ends of Windows become those of Unix."""

    def decode(self, data):
        return with_text(super().decode(data), lambda text: text.replace("\r\n", "\n"), "user")


@mutant(kills=("MSG33",), may_kill=("MSG24", "MSG30"))
class JoinsBlanks(Behaviour):
    """Each run of blanks becomes one."""

    def decode(self, data):
        return with_text(super().decode(data), lambda text: re.sub(r"[ \t]+", " ", text), "user")
