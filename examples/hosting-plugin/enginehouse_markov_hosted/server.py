"""The Markov chain as a program that speaks the OpenAI wire: an engine to be hosted.

    python -m enginehouse_markov_hosted.server TEXT CONTEXT_TOKENS STEP_S ADDRESS

ADDRESS is the path of a Unix socket, or a port of this host.
"""

import asyncio
import json
import sys
from contextlib import aclosing

import enginehouse_markov as markov
import msgspec

import enginehouse_plugin as eh
from enginehouse_plugin.errors import RequestError

FIELDS = ("temperature", "top_p", "max_tokens", "seed", "stream")


class Server:
    def __init__(self, instance: eh.Instance) -> None:
        self._instance = instance

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if head.startswith("get /health "):
                write_body(writer, 200, {"status": "ok"})
            else:
                length = int(head.partition("content-length:")[2].split()[0])
                await self._chat(json.loads(await reader.readexactly(length)), reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async def _chat(self, body: dict, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages = msgspec.convert(body["messages"], tuple[eh.Message, ...])
        fields = {name: body[name] for name in FIELDS if name in body}
        chunks = []
        async with aclosing(
            self._instance.generate(eh.GenerationRequest(id="", prompt=eh.Chat(messages), **fields))
        ) as events:
            try:
                await anext(events)
            except RequestError as error:
                write_body(writer, 400, {"error": {"message": error.message, "param": error.param, "code": error.code}})
                return
            if body.get("stream"):
                write_head(writer, 200, "text/event-stream", "transfer-encoding: chunked")
            async for event in events:
                if reader.at_eof():  # the client has left
                    return
                chunks.append(chunk_of(event))
                if body.get("stream"):
                    write_chunk(writer, chunks.pop())
                    await writer.drain()
        if body.get("stream"):
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            return
        *deltas, finished, usage = chunks
        text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in deltas)
        reason = finished["choices"][0]["finish_reason"]
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        write_body(writer, 200, {"choices": [choice], "usage": usage["usage"]})


def chunk_of(event: eh.AnyEvent) -> dict:
    match event:
        case eh.TextDelta():
            return {"choices": [{"index": 0, "delta": {"content": event.text}, "finish_reason": None}]}
        case eh.Finished():
            return {"choices": [{"index": 0, "delta": {}, "finish_reason": event.reason}]}
        case eh.UsageReport():
            counts = {"prompt_tokens": event.prompt_tokens, "completion_tokens": event.completion_tokens}
            return {"choices": [], "usage": counts}
    raise AssertionError(event)


def write_head(writer: asyncio.StreamWriter, status: int, kind: str, framing: str) -> None:
    writer.write(f"HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\nconnection: close\r\n{framing}\r\n\r\n".encode())


def write_body(writer: asyncio.StreamWriter, status: int, body: dict) -> None:
    data = json.dumps(body).encode()
    write_head(writer, status, "application/json", f"content-length: {len(data)}")
    writer.write(data)


def write_chunk(writer: asyncio.StreamWriter, chunk: dict) -> None:
    data = f"data: {json.dumps(chunk)}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def main(text: str, context_tokens: str, step_s: str, address: str) -> None:
    placement = eh.Placement(
        model="parrot",
        backend="markov",
        source=text,
        path=text,
        context_tokens=int(context_tokens),
        options=markov.Options(step_s=float(step_s)),
    )
    server = Server(await markov.MarkovBackend().load(placement, (), lambda _: None))
    if address.isdecimal():
        listener = await asyncio.start_server(server.answer, "127.0.0.1", int(address))
    else:
        listener = await asyncio.start_unix_server(server.answer, address)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
