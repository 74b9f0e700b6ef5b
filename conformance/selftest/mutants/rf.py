"""Faults of the response format."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from conformance_stub import Behaviour, grammar, schema
from conformance_stub.mutants import mutant
from enginehouse_plugin import Finished, JsonObject, JsonSchema
from enginehouse_plugin.errors import EngineFailure

Change = Callable[[dict], dict]


def deeply(change: Change, value):
    """*value*, a JSON Schema, with *change* made at every level."""
    if isinstance(value, list):
        return [deeply(change, item) for item in value]
    if not isinstance(value, dict):
        return value
    return change({name: deeply(change, item) for name, item in value.items()})


def without(*keywords: str) -> Change:
    """A schema without *keywords*."""
    return lambda found: {name: value for name, value in found.items() if name not in keywords}


class ReadsAnotherSchema(Behaviour):
    """The schema is changed by `change` before it is enforced."""

    def change(self, found: dict) -> dict:
        raise NotImplementedError

    def output_grammar(self, request):
        if not isinstance(request.output, JsonSchema):
            return super().output_grammar(request)
        changed = msgspec.structs.replace(request.output, schema=deeply(self.change, request.output.schema))
        return super().output_grammar(msgspec.structs.replace(request, output=changed))


@mutant(
    kills=("RF1", "RF2", "RF3", "RF4", "RF5", "RF6", "RF7", "RF8", "RF9", "RF10", "RF11", "RF12", "RF16", "RF17",
           "RF18", "RF19", "RF20", "RF21", "RF22", "RF23"),
    may_kill=("RF*", "X*", "SSE6", "SSE15", "STOP11", "ISO1", "LEN*"),
    origin="mlx_lm.server: response_format is never read",
    in_process=True,
)  # fmt: skip
class NeverReadsResponseFormat(Behaviour):
    """response_format is accepted and ignored."""

    def output_grammar(self, request):
        return None


@mutant(kills=("RF1",), in_process=True)
class IgnoresJsonObject(Behaviour):
    """json_object is accepted and ignored."""

    def accept(self, request):
        return msgspec.structs.replace(request, output=None) if isinstance(request.output, JsonObject) else request


@mutant(kills=("RF1",), in_process=True)
class GivesAnArray(Behaviour):
    """json_object gives an array."""

    def output_grammar(self, request):
        if isinstance(request.output, JsonObject):
            return schema.grammar_of({"type": "array"})
        return super().output_grammar(request)


@mutant(
    kills=("RF2", "RF20"),
    may_kill=("RF13", "SSE6", "SSE15", "STOP11", "LP2", "LEN*", "ISO1", "X*", "RF27", "RF28"),
    in_process=True,
)
class IgnoresConst(ReadsAnotherSchema):
    """`const` is ignored."""

    def change(self, found):
        return without("const")(found)


@mutant(
    kills=("RF3", "RF8", "RF9", "RF10", "RF11", "RF12", "RF22", "RF23"),
    may_kill=("RF16", "RF21", "ISO1", "X*", "RF24", "RF25", "RF27", "RF29", "RF30"),
    in_process=True,
)
class IgnoresEnum(ReadsAnotherSchema):
    """`enum` is ignored."""

    def change(self, found):
        return without("enum")(found)


@mutant(kills=("RF4",), may_kill=("RF16", "RF21"), in_process=True)
class IgnoresStringLengths(ReadsAnotherSchema):
    """minLength and maxLength are ignored."""

    def change(self, found):
        return without("minLength", "maxLength")(found)


@mutant(
    kills=("RF5",), may_kill=("RF8", "RF24"), origin="vLLM#12201: minItems and maxItems are ignored", in_process=True
)
class IgnoresItemCounts(ReadsAnotherSchema):
    """minItems and maxItems are ignored."""

    def change(self, found):
        return without("minItems", "maxItems")(found)


@mutant(kills=("RF6",), may_kill=("RF*", "SSE6", "SSE15", "STOP11", "LEN*", "ISO1", "X*"), in_process=True)
class IgnoresRequired(ReadsAnotherSchema):
    """No property is required."""

    def change(self, found):
        return without("required")(found)


@mutant(kills=("RF6",), may_kill=("RF*", "SSE6", "SSE15", "STOP11", "LEN*", "ISO1", "X*"), in_process=True)
class AddsAKey(ReadsAnotherSchema):
    """Objects get a key that additionalProperties false forbids."""

    def change(self, found):
        if not isinstance(found.get("required"), list) or found.get("type") != "object":
            return found
        return {
            **found,
            "properties": {**found["properties"], "note": {"const": 1}},
            "required": [*found["required"], "note"],
        }


@mutant(kills=("RF7",), may_kill=("RF2",), in_process=True)
class SaysEverythingInStrings(ReadsAnotherSchema):
    """Integers, booleans and null come as strings."""

    def change(self, found):
        return {**found, "type": "string"} if found.get("type") in ("integer", "boolean", "null") else found


@mutant(kills=("RF8",), may_kill=("RF5", "RF24"), in_process=True)
class ItemsAreFree(ReadsAnotherSchema):
    """The schema of an array's items is ignored."""

    def change(self, found):
        return without("items")(found)


@mutant(kills=("RF9",), may_kill=("RF24",), in_process=True)
class IgnoresReferences(ReadsAnotherSchema):
    """What a $ref points to may be anything."""

    def change(self, found):
        return without("$ref")(found)


@mutant(kills=("RF10",), in_process=True)
class IgnoresAnyOf(ReadsAnotherSchema):
    """anyOf is ignored."""

    def change(self, found):
        return without("anyOf")(found)


@mutant(kills=("RF11",), may_kill=("SMP*",), in_process=True)
class ForgetsTheSchemaWhenHot(Behaviour):
    """At a high temperature the schema is not enforced."""

    def accept(self, request):
        return msgspec.structs.replace(request, output=None) if request.temperature > 1.5 else request


@mutant(
    kills=("RF12",),
    may_kill=("SSE6", "SSE11", "SSE15", "STOP11", "X*", "ISO1", "SSE21", "RF1", "RF28"),
    in_process=True,
)
class ForgetsTheSchemaInStreams(Behaviour):
    """In a stream the schema is not enforced."""

    def accept(self, request):
        return msgspec.structs.replace(request, output=None) if request.stream else request


@mutant(kills=("RF13",), may_kill=("RF*", "LEN*", "X*"), in_process=True)
class CutJsonEndsWithStop(Behaviour):
    """A constrained answer that was cut short ends with "stop"."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, Finished) and request.output is not None:
                event = msgspec.structs.replace(event, reason="stop")
            yield event


@mutant(kills=("RF14",))
class FillsInWhatIsMissing(Behaviour):
    """json_schema is taken without name or schema."""

    def decode(self, data):
        body = super().decode(data)
        found = body.get("response_format")
        if isinstance(found, dict) and found.get("type") == "json_schema":
            inner = {"name": "answer", "schema": {}, **found.get("json_schema", {})}
            body["response_format"] = {**found, "json_schema": inner}
        return body


@mutant(kills=("RF15",), origin="Ollama#17933: an unknown response_format is answered 200")
class IgnoresUnknownTypes(Behaviour):
    """An unknown type of response_format is ignored."""

    def decode(self, data):
        body = super().decode(data)
        found = body.get("response_format")
        if isinstance(found, dict) and found.get("type") not in ("text", "json_object", "json_schema"):
            del body["response_format"]
        return body


@mutant(
    kills=("RF16", "RF17"),
    origin="llama.cpp#19051: where the grammar cannot be parsed, the answer is free",
    in_process=True,
)
class RunsFreeWhereTheSchemaIsBad(Behaviour):
    """A schema that cannot be enforced is ignored."""

    def output_grammar(self, request):
        try:
            return super().output_grammar(request)
        except schema.SchemaRefused:
            return None


@mutant(kills=("RF17",), in_process=True)
class IgnoresPattern(ReadsAnotherSchema):
    """`pattern` is ignored."""

    def change(self, found):
        return without("pattern")(found)


class PatternReplacesLengths(Behaviour):
    """A pattern is enforced, and the lengths beside it as `letters` does it."""

    letters: grammar.Node

    def output_grammar(self, request):
        if isinstance(request.output, JsonSchema) and "pattern" in str(request.output.schema):
            return grammar.Seq((grammar.Lit(b'{"v":"'), self.letters, grammar.Lit(b'"}')))
        return super().output_grammar(request)


ABC = grammar.OneOf(grammar.mask_of(b"abc"))


@mutant(kills=("RF17",), origin="vLLM#45592: pattern drops maxLength", in_process=True)
class PatternDropsMaxLength(PatternReplacesLengths):
    """Beside a pattern maxLength is ignored."""

    letters = grammar.Rep(ABC, 6, None)


@mutant(kills=("RF17",), origin="SGLang#37707: pattern drops minLength", in_process=True)
class PatternDropsMinLength(PatternReplacesLengths):
    """Beside a pattern minLength is ignored."""

    letters = grammar.Rep(ABC, 1, 4)


@mutant(kills=("RF18",), origin="llama.cpp#25923: a large maxLength breaks the grammar", in_process=True)
class LargeLengthsBreak(Behaviour):
    """A large maxLength is an internal error."""

    def accept(self, request):
        if "5000" in str(request.output):
            raise EngineFailure("number of repetitions exceeds sane defaults")
        return request


@mutant(kills=("RF18",), origin="llama.cpp#19051", in_process=True)
class RunsFreeWhereALengthIsLarge(Behaviour):
    """A schema with a large maxLength is ignored."""

    def output_grammar(self, request):
        return None if "5000" in str(request.output) else super().output_grammar(request)


@mutant(kills=("RF19",), origin="llama.cpp#25923: an object without properties", in_process=True)
class EmptyObjectsAreNotEmpty(ReadsAnotherSchema):
    """An object without properties gets one."""

    def change(self, found):
        return {"const": {"a": 1}} if found.get("properties") == {} and found.get("type") == "object" else found


@mutant(kills=("RF20",), in_process=True)
class DropsLettersOfKeys(ReadsAnotherSchema):
    """Keys lose what is beyond ASCII."""

    def change(self, found):
        properties = found.get("properties")
        if not isinstance(properties, dict):
            return found
        plain = {key.encode("ascii", "ignore").decode(): value for key, value in properties.items()}
        return {**found, "properties": plain, "required": list(plain)}


@mutant(kills=("RF20",), in_process=True)
class DropsEscapesOfKeys(ReadsAnotherSchema):
    """Keys lose quotes and backslashes."""

    def change(self, found):
        properties = found.get("properties")
        if not isinstance(properties, dict):
            return found
        plain = {key.replace('"', "").replace("\\", ""): value for key, value in properties.items()}
        return {**found, "properties": plain, "required": list(plain)}


@mutant(kills=("RF21",), in_process=True)
class CountsBytes(ReadsAnotherSchema):
    """Lengths count bytes."""

    def change(self, found):
        for value in found.get("enum", ()):
            if isinstance(value, str) and len(value.encode()) > found.get("maxLength", 1000):
                raise schema.SchemaRefused("no value of `enum` fits `maxLength`")
        return found


@mutant(kills=("RF22",))
class FencesOnDemand(Behaviour):
    """JSON comes in a fence where the prompt wants one."""

    def answer(self, answer, body):
        if "fence" in str(body["messages"]):
            for choice in answer["choices"]:
                choice["message"]["content"] = f"```json\n{choice['message']['content']}\n```"
        return answer


@mutant(kills=("RF23",))
class ConstrainsTheFirstChoice(Behaviour):
    """Only the first choice satisfies the schema."""

    def answer(self, answer, body):
        if body.get("response_format"):
            for choice in answer["choices"][1:]:
                choice["message"]["content"] = f"Sure! {choice['message']['content']}"
        return answer
