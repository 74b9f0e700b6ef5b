"""Faults of Ollama's routes."""

from __future__ import annotations

from conformance_stub.faults import decoding, drop, each, fault, faults_of_cases, inside, put

AT = "ollama"
_ALL = ("OLL*",)

faults_of_cases("OLL", but=("OLL36",))
fault(
    "ollama_generate",
    "Generate adds words of its own.",
    "OLL36",
    may_kill=_ALL,
    chat=lambda chat, body: {**chat, "messages": [{"role": "system", "content": "Be brief."}, *chat["messages"]]},
)

fault(AT, "The answer has no done_reason.", "OLL1", answer=drop("done_reason"), may_kill=_ALL)
fault(AT, "Another model is named.", "OLL2", answer=put(model="llama3"))
fault(AT, "The time is a number.", "OLL3", answer=put(created_at=1))
fault(AT, "The message has no role.", "OLL4", answer=inside("message", drop("role")))
fault(AT, "A cut answer has the reason stop.", "OLL5", answer=put(done_reason="stop"), may_kill=_ALL)
fault(AT, "No token of the prompt is counted.", "OLL6", answer=put(prompt_eval_count=0), may_kill=_ALL)
fault(AT, "Durations are in seconds.", "OLL7", answer=put(total_duration=0.5))
fault(AT, "A body that is no JSON is an empty one.", "OLL16",
      decode=decoding(model="stub-1", messages=[{"role": "user", "content": "Hi"}],
                      options={"num_predict": 2}))  # fmt: skip
fault(AT, "Unknown fields are dropped in silence.", "OLL17",
      check=lambda body: [body.pop(name) for name in list(body) if name.startswith("x_")] and None)  # fmt: skip
fault(AT, "Errors have chat's form.", "OLL18", error=lambda raw: {"error": {"message": raw["error"]}})
fault(AT, "Calls of the history are dropped.", "OLL25",
      chat=lambda chat, body: {**chat, "messages": [drop("tool_calls")(m) for m in chat["messages"]]})  # fmt: skip
fault(AT, "The seed is not read.", "OLL28", chat=lambda chat, body: drop("seed")(chat))
fault(AT, "Stop strings are not read.", "OLL29", chat=lambda chat, body: drop("stop")(chat))


def _whole_unless_asked(body):
    body.setdefault("stream", False)


fault(AT, "An answer is whole unless a stream is asked for.", "OLL30", check=_whole_unless_asked)
fault(AT, "Every line is done.", "OLL31", events=each(put(done=True)))
fault(AT, "Counts come with every line.", "OLL31", events=each(put(eval_count=1)), may_kill=_ALL)
fault(AT, "The first line is lost.", "OLL32", events=lambda events: events[1:], may_kill=_ALL)
fault(AT, "The version is a number.", "OLL33", ollama_version=lambda: {"version": 1})
fault(AT, "The model is not listed.", "OLL34", ollama_tags=lambda model: {"models": []})
fault(AT, "Any model is shown.", "OLL35", ollama_knows=lambda model: True)
