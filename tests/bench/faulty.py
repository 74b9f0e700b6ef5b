"""An upstream for faults: python faulty.py PORT NAME FAILING, the last being the share of requests that it answers 500.

Streams 8 chunks 10 ms apart, or answers whole as fast. Prints the id of each request (the last message) that it has
answered to the end. SIGSTOP makes it hang as a stopped machine does, SIGUSR1 begins the failures.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from typing import Any

CHUNKS = 8
SPACING_S = 0.01
USAGE = {"prompt_tokens": 3, "completion_tokens": CHUNKS}
CARD = {"id": "m", "object": "model", "context_length": 4096}


class Faulty:
    def __init__(self, name: str, failing: float) -> None:
        self.name = name
        self.failing = failing
        self.is_failing = False
        self.dice = random.Random(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
                body = json.loads(await reader.readexactly(length)) if length else {}
                if not body:
                    self.whole(writer, 200, {"data": [CARD]})
                elif self.is_failing and self.dice.random() < self.failing:
                    self.whole(writer, 500, {"error": {"message": "bad weather"}})
                else:
                    await self.answer(reader, writer, body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def whole(self, writer: asyncio.StreamWriter, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(data), data))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        if not body.get("stream"):
            await asyncio.sleep(CHUNKS * SPACING_S)
            if reader.at_eof() or writer.is_closing():  # who asked has left, as engines notice too
                raise ConnectionError
            message = {"role": "assistant", "content": "word " * CHUNKS}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.whole(writer, 200, {"choices": [choice], "usage": USAGE})
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(CHUNKS):
                await asyncio.sleep(SPACING_S)
                if reader.at_eof() or writer.is_closing():
                    raise ConnectionError
                finish = "stop" if number == CHUNKS - 1 else None
                self.chunk(writer, {"choices": [{"index": 0, "delta": {"content": "w "}, "finish_reason": finish}]})
                await writer.drain()
            self.chunk(writer, {"choices": [], "usage": USAGE})
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()
        if not writer.is_closing():
            print(body["messages"][-1]["content"], flush=True)

    def chunk(self, writer: asyncio.StreamWriter, document: Any) -> None:
        data = b"data: " + json.dumps(document).encode() + b"\n\n"
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def main() -> None:
    port, name, failing = sys.argv[1:]
    faulty = Faulty(name, float(failing))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(faulty, "is_failing", True))
    loop.add_signal_handler(signal.SIGUSR2, lambda: setattr(faulty, "is_failing", False))
    async with await asyncio.start_server(faulty.serve, "127.0.0.1", int(port)) as server:
        await server.serve_forever()


asyncio.run(main())
