"""The inside of a worker, without a process around it."""

from enginehouse_kit.worker.frames import Generate
from enginehouse_kit.worker.guest import _Guest
from enginehouse_plugin import Chat, GenerationRequest, Run, UserMessage


class EndsWhenResumed(Run):
    def __init__(self, sink):
        self.sink = sink

    def pause(self):
        """Goes on: what is said below comes with `resume`."""

    def resume(self):
        self.sink.end(None)

    def cancel(self):
        """Nothing runs."""

    async def wait_released(self):
        """Nothing runs."""


class Engine:
    def start(self, request, sink):
        return EndsWhenResumed(sink)


async def test_streams_that_end_as_they_are_resumed_leave_the_others_alone():
    guest = _Guest(None)
    guest._instance = Engine()
    request = GenerationRequest(id="r", prompt=Chat((UserMessage("Hi"),)))
    guest._take([Generate(identity, request) for identity in range(3)])
    assert len(guest._generations) == 3
    guest._set_writable(True)
    assert not guest._generations
