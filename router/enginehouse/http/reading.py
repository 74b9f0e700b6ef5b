"""The reading side of a connection: the parser, and the head that comes."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

import httptools

from enginehouse.dialects.endpoint import Header
from enginehouse.dialects.refusals import MalformedHTTP
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .direct import DirectExchange
from .doors import Place
from .head import framing
from .shared import Shared
from .writing import Writing

log = get_logger()


class Reading(Writing):
    """Parses what the client sends; what comes of it is told by calls of the parser, some of them in `Connection`."""

    __deletable__ = ("_parser",)  # asked of classes that are compiled

    def __init__(self, shared: Shared, place: Place) -> None:
        super().__init__(shared, place)
        self._url = b""
        self._headers: list[Header] = []
        self._is_in_head = False
        self._is_reframed = False  # the parser is given a head again, for the body's sake
        self._receiving: DirectExchange | None = None  # its body is not whole

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to parse."""
        super().connection_made(transport)
        self._parser = httptools.HttpRequestParser(self)

    def let_go(self) -> None:
        """Let go of the parser, which holds this connection: crowds that leave must not wait for the collector."""
        super().let_go()
        del self._parser

    @abstractmethod
    def _refuse(self, error: EnginehouseError) -> None:
        """Answer what is not a request."""

    def _parse(self, rest: bytes | memoryview) -> bool:
        """Parse *rest*; returns whether more is wanted."""
        try:
            while True:
                try:
                    self._parser.feed_data(rest)
                    return not self._is_deaf
                except httptools.HttpParserUpgrade as upgrade:
                    # A server may stay with this protocol: some clients offer HTTP/2 with every request. The parser
                    # takes the body for the other one, so it is given a head that has nothing but the framing.
                    if self._is_deaf:
                        return False
                    rest = memoryview(rest)[upgrade.args[0] :]
                    self._parser = httptools.HttpRequestParser(self)
                    if self._receiving is not None:
                        self._is_reframed = True
                        self._parser.feed_data(framing(self._receiving.length))
        except httptools.HttpParserCallbackError as error:
            log.error("connection failed", exc_info=error.__context__)
            self.transport.abort()
            return False
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse(MalformedHTTP("Invalid HTTP request received."))
            return False

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        if not self._is_reframed and not self._is_deaf:
            self._url = b""
            self._headers = []
            self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        if self._is_in_head:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is not looked at."""
        if self._is_in_head:
            self._headers.append((name.lower(), value))
