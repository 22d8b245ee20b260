# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: the stream's grammar, and reading one with an eye on when things arrive."""

from __future__ import annotations

import asyncio
import codecs
import time
from typing import NamedTuple

from .client import Request, Trace, connect
from .wire import HttpError, ResponseParser

_MAX_LINE = 1024 * 1024
_MAX_STREAM = 64 * 1024 * 1024


class Event(NamedTuple):
    """One event; `at` is when its last byte arrived, in seconds of the monotonic clock."""

    event: str
    data: str
    id: str
    at: float


class EventParser:
    """Incremental parser of `text/event-stream`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.comments = 0
        self.last_id = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._first = True
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes, at: float) -> None:
        """Take bytes that arrived at a moment; complete events are appended to `events`."""
        text = self._decoder.decode(data)
        if self._first and text:
            self._first = False
            text = text[1:] if text[0] == "\ufeff" else text
        text = self._text + text
        start = 0
        while True:
            end = _line_end(text, start)
            if end < 0:
                break
            self._line(text[start:end], at)
            start = end + (2 if text[end : end + 2] == "\r\n" else 1)
        self._text = text[start:]
        if len(self._text) > _MAX_LINE:
            raise HttpError(f"a line of the event stream is longer than {_MAX_LINE} characters")

    def _line(self, line: str, at: float) -> None:
        if not line:
            if self._data:
                self.events.append(Event(self._event or "message", "\n".join(self._data), self.last_id, at))
            self._event, self._data = "", []
            return
        name, colon, value = line.partition(":")
        if not name and colon:
            self.comments += 1
            return
        value = value[1:] if value[:1] == " " else value
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self.last_id = value


def _line_end(text: str, start: int) -> int:
    """Where the next line ends, -1 when that is not known yet: a CR at the very end may be half of a CRLF."""
    line_feed = text.find("\n", start)
    carriage_return = text.find("\r", start)
    if carriage_return < 0 or (0 <= line_feed < carriage_return):
        return line_feed
    return -1 if carriage_return == len(text) - 1 else carriage_return


class Limits(NamedTuple):
    """When to stop reading a stream, and what is too slow. Times in seconds."""

    events: int = 1
    first_within: float = 5.0
    idle: float = 15.0
    within: float = 30.0


def too_late(events: list[Event], opened: float, limits: Limits) -> str | None:
    """Which event came too late; None when all were in time.

    What came together with the header, or with other events, was never waited for.
    """
    before, patience, what = opened, limits.first_within, "the first event came"
    for number, event in enumerate(events, 1):
        took = event.at - before
        if took > patience:
            return f"{what} after {took:.2f} s, expected within {patience:g} s"
        if event.at - opened > limits.within:
            return f"event {number} came after {event.at - opened:.2f} s, expected within {limits.within:g} s"
        before, patience, what = event.at, limits.idle, f"event {number + 1} came, after event {number},"
    return None


class Stream:
    """An open event stream."""

    def __init__(self, request: Request, trace: Trace) -> None:
        self.request = request
        self.trace = trace
        self.parsed = EventParser()
        self.body = b""
        self.opened = 0.0
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self.response = ResponseParser(max_body=_MAX_STREAM, on_data=self._take)

    def _take(self, data: bytes) -> None:
        self.body = (self.body + data)[:4096]
        self.parsed.feed(data, time.monotonic())

    @property
    def events(self) -> list[Event]:
        """The events so far."""
        return self.parsed.events

    async def open(self, timeout: float) -> None:
        """Send the request and wait for the header; raises HttpError."""
        try:
            await asyncio.wait_for(self._open(timeout), timeout)
        except asyncio.TimeoutError:
            raise HttpError(self.trace.timeout_reason(timeout)) from None

    async def _open(self, timeout: float) -> None:
        wire = self.request.wire()
        self._reader, self._writer = await connect(self.request, self.trace, timeout)
        self.opened = time.monotonic()
        self.trace.parser = self.response
        self.trace.begin("waiting for the answer")
        self._writer.write(wire)
        while not self.response.status and await self._more():
            pass

    async def _more(self) -> bool:
        """Read a piece; False at the end of the stream."""
        if self._reader is None or self.response.done:
            return False
        try:
            data = await self._reader.read(65536)
        except OSError as error:
            raise HttpError(f"connection lost {self.response.where()}: {error.strerror or error}") from None
        if not data:
            self.response.eof()
            return False
        self.response.feed(data)
        return True

    async def read(self, limits: Limits) -> None:
        """Read until enough events have come; raises HttpError when they are too slow or the stream ends."""
        end = self.opened + limits.within
        while len(self.events) < limits.events:
            now = time.monotonic()
            count = len(self.events)
            # The first event counts from the opening, each later one from the one before it.
            quiet = self.opened + limits.first_within if not count else self.events[-1].at + limits.idle
            try:
                more = await asyncio.wait_for(self._more(), max(0.001, min(end, quiet) - now))
            except asyncio.TimeoutError:
                if time.monotonic() < min(end, quiet):
                    continue
                wanted = f"{count} of {limits.events} events"
                if end <= quiet:
                    raise HttpError(f"{wanted} within {limits.within:g} s") from None
                if count:
                    raise HttpError(f"{wanted}, then none for {limits.idle:g} s") from None
                raise HttpError(f"no event within {limits.first_within:g} s") from None
            if not more:
                raise HttpError(f"the stream ended after {count} of {limits.events} events")
        late = too_late(self.events[: limits.events], self.opened, limits)
        if late:
            raise HttpError(late)

    @property
    def alive(self) -> bool:
        """The server has not ended it, as far as is known."""
        return not self.response.done and self._reader is not None and not self._reader.at_eof()

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.transport.abort()
