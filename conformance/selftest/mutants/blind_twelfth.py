"""What a blind round missed: what is moved, remembered, lost, held back, dropped, shared or refused between."""

from __future__ import annotations

from collections import Counter

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from conformance_stub.wire_parts import Rejected

_MESSAGES = ("MSG*", "END*", "X*", "REL*")
_SCHEMAS = ("SCH*", "RF*", "X*", "TOOL*")
BOUNDS = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "minItems", "maxItems",
}  # fmt: skip


def is_system(message):
    return isinstance(message, dict) and message.get("role") == "system" and isinstance(message.get("content"), str)


@mutant(kills=("MSG43",), may_kill=_MESSAGES, origin="gateways to APIs that have one field for the system")
class HoistsTheSystem(Behaviour):
    """All system messages are moved to the front and joined."""

    def decode(self, data):
        body = super().decode(data)
        messages = body.get("messages")
        systems = [one for one in messages if is_system(one)] if isinstance(messages, list) else []
        return {**body, "messages": self.moved(systems, messages)} if systems else body

    def moved(self, systems, messages):
        joined = {"role": "system", "content": "\n\n".join(one["content"] for one in systems)}
        return [joined, *(one for one in messages if not is_system(one))]


@mutant(kills=("MSG43",), may_kill=_MESSAGES)
class LateSystemsFollowTheFirst(HoistsTheSystem):
    """A system message that comes late is put right after a first one."""

    def moved(self, systems, messages):
        if not is_system(messages[0]):
            return messages
        return [*systems, *(one for one in messages if not is_system(one))]


@mutant(kills=("ISO10",), may_kill=("ISO*", "ENV*", "PRF*"))
class RemembersTheUser(Behaviour):
    """The last message of a user is put before the next one of the same `user`."""

    def __init__(self):
        self._said = {}

    def who(self, body):
        return body.get("user")

    def decode(self, data):
        body = super().decode(data)
        who, messages = self.who(body), body.get("messages")
        if not isinstance(who, str) or not isinstance(messages, list) or not messages:
            return body
        earlier, self._said[who] = self._said.get(who), messages[-1]
        return {**body, "messages": [*messages[:-1], *([earlier] if earlier else []), messages[-1]]}


@mutant(kills=("ISO10",), may_kill=("ISO*", "ENV*", "PRF*"))
class RemembersTheSession(RemembersTheUser):
    """The last message is put before the next one with the same `session_id` in its metadata."""

    def who(self, body):
        metadata = body.get("metadata")
        return metadata.get("session_id") if isinstance(metadata, dict) else None


@mutant(kills=("SSE28",), may_kill=("SSE*", "@stream"), origin="relays that read a stream with splitlines()")
class SplitsLinesAnywhere(Behaviour):
    """An event that holds U+2028, U+2029 or U+0085 falls apart and is dropped."""

    def event(self, data):
        return b"" if len(data.decode().splitlines()) > 1 else super().event(data)


@mutant(kills=("SSE29",), may_kill=("SSE*", "@stream", "ISO3", "ISO9"), origin="reverse proxies that buffer 4 KiB")
class BuffersBlocks(Behaviour):
    """The chunks of a stream leave eighteen at a time."""

    block = 18

    def __init__(self):
        self._held = {}

    def chunks(self, chunks, body):
        held = self._held.setdefault(id(body), [])
        held += chunks
        is_over = any(entry["finish_reason"] for chunk in held for entry in chunk["choices"])
        if len(held) < self.block and not is_over:
            return []
        return super().chunks(self._held.pop(id(body)), body)


def unbounded(value, is_dropped, depth=0):
    """The schema *value* without the bounds of those schemas in it of which *is_dropped* holds, by their depth."""
    if not isinstance(value, dict):
        return value
    kept = {name: found for name, found in value.items() if not (name in BOUNDS and is_dropped(depth))}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {key: unbounded(one, is_dropped, depth + 1) for key, one in kept["properties"].items()}
    if isinstance(kept.get("items"), dict):
        kept["items"] = unbounded(kept["items"], is_dropped, depth + 1)
    if isinstance(kept.get("$defs"), dict):
        kept["$defs"] = {key: unbounded(one, is_dropped, 99) for key, one in kept["$defs"].items()}
    return kept


class DropsBoundsOfAnswers(Behaviour):
    """Changes the schema of an answer."""

    def is_dropped(self, depth):
        raise NotImplementedError

    def decode(self, data):
        body = super().decode(data)
        try:
            form = body["response_format"]["json_schema"]
            form["schema"] = unbounded(form["schema"], self.is_dropped)
        except (KeyError, TypeError):
            pass
        return body


@mutant(kills=("SCH10",), may_kill=_SCHEMAS, origin="gateways that tidy schemas")
class DropsNestedBounds(DropsBoundsOfAnswers):
    """Bounds below the properties of an answer's schema are dropped."""

    def is_dropped(self, depth):
        return 2 <= depth < 99


@mutant(kills=("SCH10",), may_kill=_SCHEMAS)
class DropsBoundsOfDefinitions(DropsBoundsOfAnswers):
    """Bounds of definitions that an answer's schema refers to are dropped."""

    def is_dropped(self, depth):
        return depth == 99


@mutant(kills=("SCH10",), may_kill=_SCHEMAS)
class DropsNestedBoundsOfTools(Behaviour):
    """Bounds below the properties of a strict tool's parameters are dropped."""

    def decode(self, data):
        body = super().decode(data)
        for tool in body.get("tools") or () if isinstance(body.get("tools"), list) else ():
            function = tool.get("function") if isinstance(tool, dict) else None
            if isinstance(function, dict) and "parameters" in function:
                function["parameters"] = unbounded(function["parameters"], lambda depth: depth >= 2)
        return body


class CountsWhatIsInFlight(Behaviour):
    """Knows how many equal requests are in flight."""

    def __init__(self):
        self._in_flight = Counter()
        self._kept = {}

    def prepare(self, body):
        prepared = super().prepare(body)
        self._in_flight[self.key(prepared)] += 1
        return prepared

    def key(self, body):
        return msgspec.json.encode(body)

    def shared(self, value, body):
        """What the first of equal requests has; *value* for the first."""
        return self._kept.setdefault(self.key(body), value)

    def ends(self, body):
        key = self.key(body)
        self._in_flight[key] -= 1
        if self._in_flight[key] <= 0:
            self._kept.pop(key, None)


@mutant(kills=("ISO11",), may_kill=("ISO*", "ENV3", "N*", "SMP*"), origin="singleflight before an upstream")
class AnswersEqualRequestsOnce(CountsWhatIsInFlight):
    """Equal requests in flight together get one answer."""

    def answer(self, answer, body):
        told = self.told(answer, self.shared(answer, body))
        self.ends(body)
        return super().answer(told, body)

    def told(self, answer, first):
        return first


@mutant(kills=("ISO11",), may_kill=("ISO*", "N*", "SMP*"))
class TellsOneTextTwice(AnswersEqualRequestsOnce):
    """Equal requests in flight together get one answer, each with an id of its own."""

    def told(self, answer, first):
        return {**first, "id": answer["id"]}


@mutant(kills=("ISO11",), may_kill=("ISO*", "ENV3", "SSE*"))
class StreamsOfEqualRequestsAreOne(CountsWhatIsInFlight):
    """Equal streams in flight together have one id."""

    def chunks(self, chunks, body):
        made = [{**chunk, "id": self.shared(chunk["id"], body)} for chunk in chunks]
        if any(entry["finish_reason"] for chunk in chunks for entry in chunk["choices"]):
            self.ends(body)
        return super().chunks(made, body)


@mutant(kills=("ENV18",))
class RefusesCharsets(Behaviour):
    """A content type with a parameter is refused."""

    def check_media_type(self, kind):
        if kind is not None and ";" in kind:
            raise Rejected("The content type is none of ours.", code="unsupported_media_type", status=415)


@mutant(kills=("ENV18",))
class ReadsContentTypesByTheLetter(Behaviour):
    """A content type is compared letter by letter."""

    def check_media_type(self, kind):
        if kind is not None and not kind.startswith("application/json"):
            raise Rejected("The content type is none of ours.", code="unsupported_media_type", status=415)
