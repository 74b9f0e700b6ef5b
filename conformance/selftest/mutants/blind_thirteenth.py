"""What a blind round missed: escapes, characters that stand for others, code that is barred, names of keywords."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import quote

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from conformance_stub.wire_parts import Rejected
from enginehouse_conformance.rules import SECTIONS

_MESSAGES = ("MSG*", "END*", "X*", "REL*", "LEN*", "ENV15")
_SCHEMAS = ("SCH*", "RF*", "X*", "TOOL*")
ANYTHING = tuple(f"{section}*" for section in SECTIONS)
_NOT_DESCRIBED = ("title", "default", "format", "examples")
_ATTACK = re.compile(r"<script|union select|\.\./|/etc/|jndi:", re.IGNORECASE)


def with_texts(messages, change, roles=("system", "developer", "user", "assistant", "tool")):
    """*messages* with *change* on each text of those of *roles*."""
    if not isinstance(messages, list):
        return messages
    return [
        {**one, "content": _changed(one.get("content"), change)}
        if isinstance(one, dict) and one.get("role") in roles and one.get("content")
        else one
        for one in messages
    ]


def _changed(content, change):
    if isinstance(content, str):
        return change(content)
    if not isinstance(content, list):
        return content
    return [
        {**part, "text": change(part["text"])} if isinstance(part, dict) and isinstance(part.get("text"), str) else part
        for part in content
    ]


class _Changes(Behaviour):
    """Texts of messages are changed."""

    def change(self, text):
        return text

    def decode(self, data):
        body = super().decode(data)
        return {**body, "messages": with_texts(body["messages"], self.change)} if "messages" in body else body


@mutant(kills=("MSG44",), may_kill=_MESSAGES, origin="gateways that make text safe for pages")
class EscapesPrompts(_Changes):
    """Markup in messages is escaped."""

    def change(self, text):
        return html.escape(text, quote=False)


@mutant(kills=("MSG44",), may_kill=_MESSAGES, origin="gateways that write JSON into JSON")
class EscapesPromptsAsJson(_Changes):
    """Messages are written with the escapes of JSON."""

    def change(self, text):
        return json.dumps(text)[1:-1]


@mutant(kills=("MSG44",), may_kill=_MESSAGES)
class EscapesPromptsAsUrl(_Changes):
    """Messages are written with the escapes of a URL, but for blanks."""

    def change(self, text):
        return quote(text, safe=" ")


@mutant(kills=("MSG45",), may_kill=_MESSAGES, origin="columns of three bytes a character")
class ReplacesTheAstral(_Changes):
    """Characters of four bytes are replaced."""

    def change(self, text):
        return re.sub("[\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)


@mutant(kills=("MSG45",), may_kill=_MESSAGES, origin="columns in Latin-1")
class ReplacesBeyondLatin(_Changes):
    """Characters beyond Latin-1 become question marks."""

    def change(self, text):
        return text.encode("latin-1", "replace").decode("latin-1")


@mutant(kills=("MSG46",), may_kill=_MESSAGES, origin="web application firewalls")
class BarsCode(Behaviour):
    """What looks like an attack is answered with 403."""

    def decode(self, data):
        body = super().decode(data)
        if _ATTACK.search(json.dumps(body.get("messages"))):
            raise Rejected("Forbidden", status=403)
        return body


@mutant(kills=("MSG47",), may_kill=_MESSAGES, origin="gateways to APIs that take no empty message")
class DropsEmptyMessages(Behaviour):
    """Messages with empty content are dropped."""

    def decode(self, data):
        body = super().decode(data)
        messages = body.get("messages")
        kept = [one for one in messages if one.get("content") != ""] if isinstance(messages, list) else []
        return {**body, "messages": kept} if kept else body


@mutant(kills=("SMP17",), may_kill=("SMP*",), origin="servers in JavaScript")
class RoundsSeeds(Behaviour):
    """A seed is read as a double."""

    def decode(self, data):
        body = super().decode(data)
        seed = body.get("seed")
        return {**body, "seed": min(int(float(seed)), 2**63 - 1)} if isinstance(seed, int) else body


def cleaned(schema):
    """*schema* without what only describes, also where that is a property's name."""
    if isinstance(schema, list):
        return [cleaned(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: cleaned(each) for name, each in schema.items() if name not in _NOT_DESCRIBED}
    if isinstance(kept.get("required"), list):
        kept["required"] = [name for name in kept["required"] if name in kept.get("properties", {})]
    return kept


@mutant(kills=("SCH11",), may_kill=_SCHEMAS, origin="gateways to APIs that know fewer keywords")
class CleansSchemas(Behaviour):
    """Keywords that describe are taken out of schemas, and properties of their names."""

    def decode(self, data):
        body = super().decode(data)
        form = body.get("response_format")
        if isinstance(form, dict) and isinstance(form.get("json_schema"), dict) and "schema" in form["json_schema"]:
            held = {**form["json_schema"], "schema": cleaned(form["json_schema"]["schema"])}
            body = {**body, "response_format": {**form, "json_schema": held}}
        return body


@mutant(kills=("ERR17",), may_kill=("ERR*", "PRF*"), origin="gateways that write errors anew")
class TellsNoParam(Behaviour):
    """`param` of an error is null."""

    def error(self, status, error, headers):
        return super().error(status, {**error, "error": {**error["error"], "param": None}}, headers)


@mutant(kills=("ISO1",), may_kill=ANYTHING, origin="a connection that is given back before its answer is read")
class SwapsNowAndThen(Behaviour):
    """Every twentieth JSON answer is the one that left before it."""

    def __init__(self):
        self._left = 0
        self._last = None

    def answer(self, answer, body):
        self._left += 1
        earlier, self._last = self._last, super().answer(answer, body)
        return earlier if earlier and self._left % 20 == 0 else self._last
