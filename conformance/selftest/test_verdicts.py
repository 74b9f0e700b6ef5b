"""Verdicts that were once wrong on a real server, each with the smallest target that shows it."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour, StubServer
from conformance_stub.trial import by_verdict, run_on_stub
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import UrlTarget
from enginehouse_conformance.verdicts import Verdict
from enginehouse_plugin import AssistantMessage, Chat


class FlatErrors(Behaviour):
    """mlx_lm.server: an error is {"error": "text"}."""

    def error(self, status, error, headers):
        return status, {"error": error["error"]["message"]}, headers


async def test_a_flat_error_that_names_the_field_names_it() -> None:
    """The form is ERR1's business alone."""
    report = await run_on_stub(FlatErrors(), rules=["LEN4", "LEN5", "SMP6", "BIAS6", "MSG9", "MSG48", "ERR1"])
    assert by_verdict(report, Verdict.FAIL).keys() == {"ERR1"}


class TakesAnyRole(Behaviour):
    """vLLM: a message of any role is answered."""

    def decode(self, data):
        body = super().decode(data)
        messages = [{**one, "role": "user"} if one["role"] == "nobody" else one for one in body["messages"]]
        return {**body, "messages": messages}


async def test_what_is_not_refused_has_no_error_to_judge() -> None:
    report = await run_on_stub(TakesAnyRole(), rules=["ERR17"])
    assert by_verdict(report, Verdict.PASS).keys() == {"ERR17"}


class MinusOneIsEndless(Behaviour):
    """llama-server: max_tokens -1 means no limit."""

    def problem(self, name, value, body, profile):
        if name == "max_tokens" and value == -1:
            return None
        return super().problem(name, value, body, profile)

    def prepare(self, body):
        kept = super().prepare(body)
        return {name: value for name, value in kept.items() if (name, value) != ("max_tokens", -1)}


async def test_a_limit_of_minus_one_that_is_served_is_told_before_the_answer_ends() -> None:
    """The whole answer takes longer than anybody waits: only the beginning of a stream can tell."""
    async with StubServer(MinusOneIsEndless(), growth_s=0.6) as server:
        target = UrlTarget(server.url, model="stub-1", declared=Declared(), timeout_s=20.0)
        report = await run_suite(target, Options(only=frozenset({"LEN5"})))
    assert by_verdict(report, Verdict.FAIL).keys() == {"LEN5"}


class ContinuesWhatIsLast(Behaviour):
    """llama-server: where the last message is the assistant's, the answer goes on with it in any case."""

    def accept(self, request):
        is_open = isinstance(request.prompt, Chat) and isinstance(request.prompt.messages[-1], AssistantMessage)
        return msgspec.structs.replace(request, continue_final_message=is_open)


async def test_who_always_continues_the_last_message_leaves_its_turn_open() -> None:
    report = await run_on_stub(ContinuesWhatIsLast(), rules=["END7", "END8"])
    assert by_verdict(report, Verdict.PASS).keys() == {"END7", "END8"}


async def test_a_feature_that_nothing_in_a_request_asks_for_is_not_said_to_be_refused() -> None:
    report = await run_on_stub(rules=["RSN3", "RSN5"], absent=frozenset({"reasoning"}))
    assert by_verdict(report, Verdict.NOT_APPLICABLE).keys() == {"RSN3", "RSN5"}


class TakesStopsOut(Behaviour):
    """mlx_lm.server: a stop string is taken out of the text, and the answer goes on. Every token is a near tie."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=())

    def entries(self, logprobs):
        entries = super().entries(logprobs)
        for entry in entries:
            for place, top in enumerate(entry["top_logprobs"]):
                top["logprob"] = entry["logprob"] - place / 100
        return entries

    def answer(self, answer, body):
        stops = body.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            message = answer["choices"][0]["message"]
            message["content"] = message["content"].replace(stop, "")
        return answer


async def test_a_stop_string_that_is_taken_out_is_no_tie() -> None:
    report = await run_on_stub(TakesStopsOut(), rules=["STOP1", "STOP2", "STOP3"])
    assert by_verdict(report, Verdict.FAIL).keys() == {"STOP1", "STOP2", "STOP3"}


class NamesTheSchema(Behaviour):
    """llama-server: a bad schema is refused with words about the schema, and no param."""

    def error(self, status, error, headers):
        inner = error["error"]
        if inner["param"] == "response_format":
            inner |= {"param": None, "message": "JSON schema error at #/properties/v: unknown type"}
        return status, error, headers


async def test_a_refusal_that_names_the_schema_names_what_is_wrong() -> None:
    report = await run_on_stub(NamesTheSchema(), rules=["RF16"])
    assert by_verdict(report, Verdict.PASS).keys() == {"RF16"}


class SampledFirst(Behaviour):
    """vLLM: the sampled token stands before the other alternatives, however likely they are."""

    def entries(self, logprobs):
        entries = super().entries(logprobs)
        for entry in entries:
            entry["top_logprobs"].sort(key=lambda top, said=entry["bytes"]: top["bytes"] != said)
        return entries


async def test_only_their_own_rule_judges_the_order_of_alternatives() -> None:
    report = await run_on_stub(SampledFirst(), rules=["SMP19", "SMP21", "LP5"])
    assert by_verdict(report, Verdict.FAIL).keys() == {"LP5"}
