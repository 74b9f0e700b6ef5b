"""A log that is broken, full or stuck costs lines, and nothing else."""

from __future__ import annotations

import io
import os
import threading
import time

import pytest

from enginehouse.telemetry import lines
from enginehouse.telemetry.lines import MAX_WAITING, Lines


@pytest.fixture
def lost():
    """Numbers of lost lines, as they were told."""
    return []


class Written(io.StringIO):
    """A stream that notes its writes, and fails while told to."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.error = None

    def write(self, text):
        if self.error is not None:
            raise self.error
        self.writes.append(text)
        return len(text)


@pytest.fixture
def pipe():
    """A pipe that takes no more, its reading end, and how much is in it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    while True:
        try:
            filled += os.write(writer, b"." * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)

    with os.fdopen(writer, "w") as stream:
        yield stream, reader, filled
    os.close(reader)


def test_lines_that_come_together_share_a_write(lost):
    out = Written()
    log = Lines(out, lost.append)
    for line in (b"one", b"two", b"three"):
        log.add(line)
    assert log.flush(10)
    log.add(b"four")
    assert log.flush(10)
    assert out.writes == ["one\ntwo\nthree\n", "four\n"]


def test_a_log_that_nobody_reads_holds_up_nobody_and_memory_is_bounded(pipe, lost):
    stream, reader, filled = pipe
    log = Lines(stream, lost.append)
    log.add(b"first")
    time.sleep(10 * lines.GATHER_S)  # the thread is in the write by then
    began_at = time.monotonic()
    for _ in range(MAX_WAITING + 100):
        log.add(b"line")
    assert not log.flush(0.05)
    assert time.monotonic() - began_at < 5
    assert log.lost >= 100
    assert lost == []
    data = bytearray()

    def read():
        while part := os.read(reader, 1 << 20):
            data.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    assert log.flush(10)
    assert sum(lost) == log.lost
    stream.close()
    reading.join(10)
    expected = MAX_WAITING + 100 - log.lost
    assert (data[filled:].count(b"first"), data.count(b"line")) == (1, expected)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_lines_that_a_log_refuses_are_counted_and_told_when_it_takes_them_again(lost, error):
    out = Written()
    log = Lines(out, lost.append)
    out.error = error
    log.add(b"one")
    log.add(b"two")
    assert log.flush(10)
    assert (log.lost, lost) == (2, [])
    out.error = None
    log.add(b"three")
    assert log.flush(10)
    assert (out.writes, lost) == (["three\n"], [2])


def test_a_line_that_the_disk_cut_is_not_continued_by_the_next_one(lost, tmp_path, monkeypatch):
    write = os.write
    room = 5

    def write_some(descriptor, data):
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(lines.os, "write", write_some)
    with (tmp_path / "log").open("w") as stream:
        log = Lines(stream, lost.append)
        log.add(b"one line")
        assert log.flush(10)
        room = 1000
        log.add(b"another")
        assert log.flush(10)
        log.add(b"third")
        assert log.flush(10)
    assert (tmp_path / "log").read_text() == "one l\nanother\nthird\n"


def test_a_broken_pipe_loses_lines_only(lost):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        log = Lines(stream, lost.append)
        for _ in range(3):
            log.add(b"line")
            assert log.flush(10)
        assert log.lost == 3
