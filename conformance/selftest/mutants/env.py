"""Faults of the envelope."""

from __future__ import annotations

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant


@mutant(kills=("ENV1",), may_kill=("MSG*", "LEN*", "N4", "X*", "SSE*", "RSN5", "ISO3", "ENV15"))
class LeavesOutUsage(Behaviour):
    """The answer has no usage."""

    def answer(self, answer, body):
        return {key: value for key, value in answer.items() if key != "usage"}


@mutant(kills=("ENV1",), may_kill=("ENV2", "ENV3", "LEN2"))
class NeedsMaxTokens(Behaviour):
    """A request without max_tokens is refused."""

    def check_fields(self, body, profile):
        if body.get("max_tokens") is None:
            raise Rejected("max_tokens is required", param="max_tokens")
        super().check_fields(body, profile)


@mutant(kills=("ENV2",))
class CallsItTextCompletion(Behaviour):
    """The object is text_completion."""

    def answer(self, answer, body):
        return {**answer, "object": "text_completion"}


@mutant(kills=("ENV3",))
class RepeatsItsId(Behaviour):
    """Every answer has the same id."""

    def answer(self, answer, body):
        return {**answer, "id": "chatcmpl-0"}


@mutant(kills=("ENV4",))
class CreatedInMilliseconds(Behaviour):
    """`created` counts milliseconds."""

    def created(self):
        return super().created() * 1000


@mutant(kills=("ENV4",))
class CreatedIsAFloat(Behaviour):
    """`created` is a float."""

    def answer(self, answer, body):
        return {**answer, "created": answer["created"] + 0.5}


@mutant(kills=("ENV5",))
class LeavesOutIndex(Behaviour):
    """Choices have no index."""

    def answer(self, answer, body):
        return {
            **answer,
            "choices": [{k: v for k, v in choice.items() if k != "index"} for choice in answer["choices"]],
        }


@mutant(kills=("ENV5",), may_kill=("SSE6", "LEN*", "STOP*", "TOOL*", "RF*", "BIAS9", "X*"))
class InventsAFinishReason(Behaviour):
    """The finish_reason is one that no document lists."""

    def answer(self, answer, body):
        return {**answer, "choices": [{**choice, "finish_reason": "eos"} for choice in answer["choices"]]}


@mutant(kills=("ENV6",), may_kill=("TOOL15",))
class LeavesOutTheRole(Behaviour):
    """The message has no role."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            del choice["message"]["role"]
        return answer


@mutant(kills=("ENV7",), origin="llama.cpp#17668: the model is not echoed")
class NamesAnotherModel(Behaviour):
    """The answer names a file where it should name the model."""

    def answer(self, answer, body):
        return {**answer, "model": "/models/stub.gguf"}


@mutant(kills=("ENV9",), may_kill=("STOP8",), origin="SGLang#4589: response_format null crashed")
class RefusesNull(Behaviour):
    """null is not taken for absence."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        for name, value in body.items():
            if value is None:
                raise Rejected(f"{name} must not be null", param=name)


@mutant(kills=("ENV10",), origin="vLLM, mlx_lm.server, Ollama: unknown fields are ignored or only logged")
class IgnoresUnknownFields(Behaviour):
    """A field that it does not know is dropped in silence."""

    def check_fields(self, body, profile):
        for name in body.keys() - self.known_fields(profile):
            del body[name]
        super().check_fields(body, profile)


@mutant(kills=("ENV11",), may_kill=("ENV12",))
class ShowsUserToTheModel(Behaviour):
    """`user` gets into the prompt."""

    def prepare(self, body):
        prepared = super().prepare(body)
        if "user" in prepared:
            prepared["messages"] = [{"role": "system", "content": prepared["user"]}, *prepared["messages"]]
        return prepared


@mutant(kills=("ENV12",), may_kill=("ENV14",))
class KeepsAnyMetadata(Behaviour):
    """metadata has no limits."""

    def problem(self, name, value, body, profile):
        return None if name == "metadata" else super().problem(name, value, body, profile)
