"""How Ollama's routes are asked, and how their answers are read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginehouse_conformance.answer import Answer, Call, Choice, Json, Usage
from enginehouse_conformance.targets.base import Body
from enginehouse_conformance.targets.replies import Reply
from enginehouse_conformance.wire.faults import BrokenAnswer

from .base import Endpoint, Event, data_of, entry


class Ollama(Endpoint):
    """`POST /api/chat`, in lines of JSON where it is streamed, which it is unless the request says otherwise."""

    name = "ollama"
    path = "/api/chat"
    is_at_host = True
    content_type = "application/x-ndjson"

    def body(self, prompt: str, max_tokens: int) -> Body:
        """A greedy request."""
        options = _greedy(max_tokens)
        return {"messages": [{"role": "user", "content": prompt}], "options": options, "stream": False}

    def asked(self, body: Body, *, stream: bool) -> Body:
        """*body*, streamed or not."""
        return {**body, "stream": stream}

    def events(self, reply: Reply) -> list[Event]:
        """The lines."""
        lines = reply.body.split(b"\n")
        if lines.pop() != b"":
            raise BrokenAnswer("the stream ends inside a line")
        return [Event(None, data_of(line)) for line in lines]

    def answer(self, raw: dict[str, Json]) -> Answer:
        """The answer *raw*."""
        return _answer([raw])

    def streamed(self, events: Sequence[Event]) -> Answer:
        """What the lines make up; the reason and the counts are those of the last."""
        return _answer([event.data for event in events])


class OllamaGenerate(Ollama):
    """`POST /api/generate`."""

    name = "ollama_generate"
    path = "/api/generate"

    def body(self, prompt: str, max_tokens: int) -> Body:
        """A greedy request."""
        return {"prompt": prompt, "options": _greedy(max_tokens), "stream": False}


def _greedy(max_tokens: int) -> Body:
    """Options; the API's own default of repeat_penalty is 1.1."""
    return {"temperature": 0, "repeat_penalty": 1, "num_predict": max_tokens}


def _answer(lines: Sequence[dict[str, Json]]) -> Answer:
    last = lines[-1]
    if last.get("done") is not True:
        raise BrokenAnswer(f"the answer does not end with `done` true: {str(last)[:200]}")
    texts: list[str] = []
    calls: list[Call] = []
    for line in lines:
        message = line.get("message")
        texts.append(entry(line, "response", str) if message is None else entry(message, "content", str))
        for call in (message or {}).get("tool_calls") or ():
            given = entry(call["function"], "arguments", dict)
            name = entry(call["function"], "name", str)
            calls.append(Call(id=call.get("id"), type="function", name=name, arguments=_text_of(given)))
    prompt, completion = entry(last, "prompt_eval_count", int), entry(last, "eval_count", int)
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
    choice = Choice(index=0, text="".join(texts), calls=tuple(calls), finish=last.get("done_reason"))
    return Answer(choices=(choice,), usage=usage, model=last.get("model"), raw=last)


def _text_of(arguments: Json) -> str:
    return msgspec.json.encode(arguments).decode()
