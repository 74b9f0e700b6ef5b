"""Faults that part one endpoint from the others."""

from __future__ import annotations

from conformance_stub.faults import drop, fault, faults_of_cases

_ALL = ("REL*", "RESP*", "ANT*", "OLL*", "CMP*")

faults_of_cases("REL", but=tuple(f"REL{number}" for number in range(1, 9)))


def _briefly(chat, body):
    return {**chat, "messages": [{"role": "system", "content": "Be brief."}, *chat["messages"]]}


def _without_one(*types):
    def edit(events):
        first = next(at for at, (name, _) in enumerate(events) if not types or name in types)
        return [*events[:first], *events[first + 1 :]]

    return edit


for number, endpoint in enumerate(("responses", "messages", "ollama", "ollama_generate"), 1):
    fault(endpoint, f"Words of its own come before what {endpoint} is asked.", f"REL{number}", f"REL{number + 4}",
          chat=_briefly, may_kill=_ALL)  # fmt: skip
for number, endpoint, lost in (
    (5, "responses", "response.output_text.delta"), (6, "messages", "content_block_delta"), (7, "ollama", ""),
    (8, "ollama_generate", ""),
):  # fmt: skip
    fault(endpoint, f"A piece of a stream of {endpoint} is lost.", f"REL{number}", events=_without_one(lost),
          may_kill=_ALL)  # fmt: skip
fault("ollama_generate", "A raw prompt goes through the template.", "REL12",
      chat=lambda chat, body: drop("raw")(chat))  # fmt: skip
fault("messages", "Every message is answered a little hotter than asked.", "REL13",
      chat=lambda chat, body: {**chat, "temperature": 1}, may_kill=_ALL)  # fmt: skip
