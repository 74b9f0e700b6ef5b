"""Requests, and answers to them on the OpenAI chat wire."""

import json

from enginehouse_plugin import Chat, GenerationRequest, UserMessage

CHAT = Chat((UserMessage("Hi"),))


def request(**fields):
    return GenerationRequest(id="r", prompt=fields.pop("prompt", CHAT), **fields)


def http(body, status=200):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(data)) + data]


def sse(*payloads, end=(b"data: [DONE]\n\n",)):
    pieces = [b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads]
    chunks = [b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in (*pieces, *end)]
    return [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]


def chunk(index=0, finish=None, usage=None, logprobs=None, stop_reason=None, **delta):
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs, "stop_reason": stop_reason}
    return {"object": "chat.completion.chunk", "choices": [choice], "usage": usage}


def usage(prompt, completion, cached=None, reasoning=None):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return counts


def total(*counts, **more):
    return {"choices": [], "usage": usage(*counts, **more)}


def whole(*choices, usage_=None):
    return http({"object": "chat.completion", "choices": list(choices), "usage": usage_ or usage(3, 4, cached=2)})
