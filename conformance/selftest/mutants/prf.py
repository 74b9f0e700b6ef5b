"""Faults against the document of a profile."""

from __future__ import annotations

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant


@mutant(kills=("PRF1",), profile="dottxt")
class RefusesUser(Behaviour):
    """A documented field is refused."""

    def check_fields(self, body, profile):
        if body.get("user") is not None:
            raise Rejected("user is no field of this API", param="user")
        super().check_fields(body, profile)


@mutant(kills=("PRF1",), profile="dos-ai")
class RefusesTheHighestValue(Behaviour):
    """A bound is taken for one that is not part of the range."""

    def problem(self, name, value, body, profile):
        if name == "presence_penalty" and value == 2:
            return "must be below 2"
        return super().problem(name, value, body, profile)


@mutant(kills=("PRF1",), profile="dos-ai")
class RefusesADefaultThatIsSaid(Behaviour):
    """A documented default may be left out, not said: null where no tools are given."""

    def check_fields(self, body, profile):
        if "tools" in body and body["tools"] is None:
            raise Rejected("tools must be an array", param="tools")
        super().check_fields(body, profile)


@mutant(kills=("PRF2",), profile="dos-ai")
class TakesAnyPenalty(Behaviour):
    """A penalty may be beyond its documented range."""

    def problem(self, name, value, body, profile):
        return None if name == "frequency_penalty" else super().problem(name, value, body, profile)


@mutant(kills=("PRF2",), profile="digitalocean-agent")
class TakesAnyMetadata(Behaviour):
    """More pairs of metadata are taken than the document has."""

    def problem(self, name, value, body, profile):
        return None if name == "metadata" else super().problem(name, value, body, profile)


@mutant(kills=("PRF2",), profile="digitalocean-agent")
class TakesMoreTokensThanFit(Behaviour):
    """max_tokens may be more than the context has."""

    def must_fit(self, profile):
        return False


@mutant(kills=("PRF3",), profile="krosai")
class TakesUnlistedRoles(Behaviour):
    """Roles are taken that the document does not list."""

    roles = ("system", "developer", "user", "assistant", "tool", "function", "robot")

    def roles_of(self, profile):
        return self.roles


@mutant(kills=("PRF4",), profile="krosai")
class TakesMessagesWithoutContent(Behaviour):
    """A message needs no content."""

    def check_fields(self, body, profile):
        messages = body.get("messages")
        if isinstance(messages, list):
            body["messages"] = [
                {"content": "Hi", **message} if isinstance(message, dict) and message.get("role") == "user" else message
                for message in messages
            ]
        super().check_fields(body, profile)


@mutant(kills=("PRF5",), profile="krosai")
class HasNoDefaultLimit(Behaviour):
    """Without max_tokens an answer is as long as the model likes."""

    def limit_of(self, profile):
        return 400


@mutant(kills=("PRF5",), profile="krosai")
class HasAnotherDefaultTemperature(Behaviour):
    """Without a temperature an answer has OpenAI's, not the document's."""

    def heat_of(self, profile):
        return 1.0


@mutant(kills=("PRF5",), profile="dos-ai")
class HasNeitherDefaultTemperature(Behaviour):
    """Without a temperature an answer has neither that of the guide nor that of the reference."""

    def heat_of(self, profile):
        return 0.4


@mutant(kills=("PRF5",), profile="dos-ai")
class TakesTurnsWithDefaultTemperatures(Behaviour):
    """Without a temperature an answer has one of both documented ones, now this, now that."""

    turns = 0

    def within(self, body, profile):
        if body.get("temperature") is None and body.get("max_tokens") == 24:
            self.turns += 1
            body = {**body, "temperature": (1.0, 0.7)[self.turns % 2]}
        return super().within(body, profile)


@mutant(kills=("PRF6",), profile="dottxt")
class LeavesOutTheFingerprint(Behaviour):
    """An answer lacks a documented field."""

    def answer(self, answer, body):
        return {name: value for name, value in answer.items() if name != "system_fingerprint"}


@mutant(kills=("PRF7",), may_kill=("PRF1",), profile="krosai")
class TakesNoTemperatureBesideALimit(Behaviour):
    """A request as the document shows it is refused."""

    def check_fields(self, body, profile):
        if "temperature" in body and body.get("max_tokens") == 50:
            raise Rejected("temperature goes with no limit", param="temperature")
        super().check_fields(body, profile)


@mutant(kills=("PRF8",), profile="dos-ai")
class UnknownModelsAre404(Behaviour):
    """A refusal has a status that the document does not list."""

    def status_of(self, status, profile):
        return status


@mutant(kills=("PRF9", "PRF10"), profile="dos-ai")
class SaysItInOtherWords(Behaviour):
    """Errors do not say what the document says of them."""

    def words_of(self, status, profile):
        return ""


@mutant(kills=("PRF9",), profile="krosai")
class SaysOfKeysWhatItLikes(Behaviour):
    """A wrong key is not told of in the words of the document."""

    def words_of(self, status, profile):
        return "" if status == 401 else super().words_of(status, profile)


@mutant(kills=("PRF11",), profile="digitalocean-agent")
class GivesEachChoiceTheWholeBudget(Behaviour):
    """max_completion_tokens bounds each choice by itself."""

    def shared(self, limit, choices, profile):
        return limit
