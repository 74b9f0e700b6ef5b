"""Faults of schemas: what demands nothing is refused, what demands something is not read, or read otherwise."""

from __future__ import annotations

import re

import msgspec

from conformance_stub import Behaviour, schema
from conformance_stub.mutants import mutant
from enginehouse_plugin import JsonSchema

NAMED_BY_THE_STANDARD = {"title", "description", "default", "examples", "deprecated", "readOnly", "$comment"}
READ = {
    "type", "const", "enum", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "minLength", "maxLength", "anyOf", "$ref", "$defs", "definitions", "pattern", "format",
}  # fmt: skip
UNREAD = (
    "pattern", "multipleOf", "minimum", "maximum", "uniqueItems", "allOf", "propertyNames", "minProperties",
    "maxProperties",
)  # fmt: skip


def deeply(change, value):
    """*value*, a JSON Schema, with *change* made of every schema in it, the innermost first."""
    if isinstance(value, list):
        return [deeply(change, item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {name: deeply(change, found) for name, found in value.items() if name != "properties"}
    if "properties" in value:
        inner["properties"] = {key: deeply(change, part) for key, part in value["properties"].items()}
    return change(inner)


class ReadsOtherwise(Behaviour):
    """Each schema is changed by `change` before it is enforced."""

    def change(self, found: dict) -> dict:
        raise NotImplementedError

    def output_grammar(self, request):
        if isinstance(request.output, JsonSchema):
            changed = msgspec.structs.replace(request.output, schema=deeply(self.change, request.output.schema))
            request = msgspec.structs.replace(request, output=changed)
        return super().output_grammar(request)


@mutant(kills=("SCH1",), may_kill=("RF*", "X*"), in_process=True)
class RefusesDescriptions(ReadsOtherwise):
    """A schema with a title, a default or their like is refused."""

    def change(self, found):
        for name in found.keys() & NAMED_BY_THE_STANDARD:
            raise schema.SchemaRefused(f"the keyword {name!r} is not supported")
        return found


@mutant(kills=("SCH2",), origin="Enginehouse: one odd keyword refused a whole schema", in_process=True)
class RefusesUnknownWords(ReadsOtherwise):
    """A keyword that no draft knows is refused."""

    def change(self, found):
        for name in found.keys() - READ - NAMED_BY_THE_STANDARD - {*UNREAD}:
            raise schema.SchemaRefused(f"the keyword {name!r} is not supported")
        return found


@mutant(kills=("SCH2",), in_process=True)
class RefusesUnknownFormats(ReadsOtherwise):
    """A format that the standard does not define is refused."""

    def change(self, found):
        if "format" in found:
            raise schema.SchemaRefused("the keyword 'format' is not supported")
        return found


@mutant(kills=("SCH3",), may_kill=("RF17", "SCH7"), origin="xgrammar: keywords are dropped in silence", in_process=True)
class DropsWhatItCannotEnforce(ReadsOtherwise):
    """Keywords that it cannot enforce are ignored in a response_format."""

    def change(self, found):
        return {name: value for name, value in found.items() if name not in UNREAD}


@mutant(kills=("SCH3", "SCH4"), in_process=True)
class RefusesWithoutAName(Behaviour):
    """A refusal does not say which keyword it is about."""

    def output_grammar(self, request):
        return self.nameless(super().output_grammar, request)

    def arguments_grammar(self, tool):
        return self.nameless(super().arguments_grammar, tool)

    def nameless(self, compiled, given):
        try:
            return compiled(given)
        except schema.SchemaRefused:
            raise schema.SchemaRefused("the schema is not supported") from None


@mutant(kills=("SCH4",), may_kill=("TOOL*",), in_process=True)
class StrictChangesNothing(Behaviour):
    """The schema of a strict tool is enforced only as far as that is easy."""

    def arguments_grammar(self, tool):
        return super().arguments_grammar(msgspec.structs.replace(tool, strict=False))


@mutant(kills=("SCH5",), origin="Enginehouse: all tools failed for one propertyNames", in_process=True)
class EveryToolIsStrict(Behaviour):
    """A tool that cannot be enforced whole costs the request."""

    def arguments_grammar(self, tool):
        return super().arguments_grammar(msgspec.structs.replace(tool, strict=True))


@mutant(kills=("SCH6",), may_kill=("RF18",), origin="llama.cpp: maxLength 2001 gave 2816 characters", in_process=True)
class CountsAbove2000HaveNoEnd(ReadsOtherwise):
    """A maxLength above 2000 is no limit."""

    def change(self, found):
        return {name: value for name, value in found.items() if name != "maxLength" or value <= 2000}


@mutant(kills=("SCH6",), may_kill=("RF18",), in_process=True)
class CountsAbove2000Are2000(ReadsOtherwise):
    """A length above 2000 is 2000."""

    def change(self, found):
        return {key: min(value, 2000) if key in ("minLength", "maxLength") else value for key, value in found.items()}


class ReadsPatternsOtherwise(ReadsOtherwise):
    """`reading` is made of each pattern."""

    def reading(self, pattern: str) -> str:
        raise NotImplementedError

    def change(self, found):
        return {**found, "pattern": self.reading(found["pattern"])} if "pattern" in found else found


@mutant(kills=("SCH7",), origin="xgrammar: \\x5F before an a is one number, U+05FA", in_process=True)
class EscapesReadOn(ReadsPatternsOtherwise):
    """The hexadecimal digits of an escape go on into the letter behind it."""

    def reading(self, pattern):
        return re.sub(r"\\x[0-9A-Fa-f]{2}(?=[a-f])(.)", "~", pattern)


@mutant(kills=("SCH7",), in_process=True)
class DashesAreAlwaysRanges(ReadsPatternsOtherwise):
    """A dash in a class makes a range though it is escaped."""

    def reading(self, pattern):
        return pattern.replace(r"_\-z", "_-z")


@mutant(kills=("SCH8",), may_kill=("RF*",), in_process=True)
class ObjectsAreClosed(ReadsOtherwise):
    """An object has no member that its schema does not name, be it required or not."""

    def change(self, found):
        if "properties" not in found or "required" not in found:
            return found
        named = [name for name in found["required"] if name in found["properties"]]
        return {**found, "additionalProperties": False, "required": named}


@mutant(kills=("SCH8",), in_process=True)
class OtherMembersAreFree(ReadsOtherwise):
    """A schema in additionalProperties is ignored."""

    def change(self, found):
        is_schema = isinstance(found.get("additionalProperties"), dict)
        return {**found, "additionalProperties": True} if is_schema else found


@mutant(kills=("SCH9",), in_process=True)
class OptionalKeysOpenAnObject(ReadsOtherwise):
    """Where no property is required, additionalProperties false is ignored."""

    def change(self, found):
        if found.get("properties") and found.get("required") == [] and found.get("additionalProperties") is False:
            return {**found, "additionalProperties": True, "required": ["mood"]}
        return found
