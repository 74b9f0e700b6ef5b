"""Faults of the agent endpoint."""

from __future__ import annotations

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant

PROFILE = "digitalocean-agent"


@mutant(kills=("AGT1",), may_kill=("ENV1", "ENV2"), profile=PROFILE)
class AgentsAnswerOtherwise(Behaviour):
    """The answer of an agent has an object of its own."""

    def answer(self, answer, body):
        return {**answer, "object": "agent.response"}


@mutant(kills=("AGT1",), may_kill=("SSE*",), profile=PROFILE)
class AgentsStreamOtherwise(Behaviour):
    """The stream of an agent has chunks of its own."""

    def chunks(self, chunks, body):
        return [{**chunk, "object": "agent.chunk"} for chunk in chunks]


@mutant(kills=("AGT2",), profile=PROFILE)
class AgentIsOptional(Behaviour):
    """A request without agent is answered."""

    def check_query(self, query, profile):
        if "agent" in query:
            super().check_query(query, profile)


@mutant(kills=("AGT2",), profile=PROFILE)
class AgentMayBeFalse(Behaviour):
    """agent=false is answered."""

    def check_query(self, query, profile):
        if query.get("agent") != "false":
            super().check_query(query, profile)


@mutant(kills=("AGT2", "AGT3"), profile=PROFILE)
class AgentIsNotNamed(Behaviour):
    """The refusal does not say what is wrong."""

    def check_query(self, query, profile):
        if query.get("agent") != "true":
            raise Rejected("Bad request.", code="bad_request")


@mutant(kills=("AGT3",), profile=PROFILE)
class AgentIsAnyWord(Behaviour):
    """What is no boolean counts as true."""

    def check_query(self, query, profile):
        if query.get("agent") in (None, "false"):
            super().check_query(query, profile)
