"""A struct that is threadsafe is first decoded by many threads at once, in a process of its own: else that crashes."""

from __future__ import annotations

import subprocess
import sys

CROWD = """
import sys, threading
import msgspec
from enginehouse_plugin.threadsafe import threadsafe

sys.setswitchinterval(1e-6)
for _ in range(100):
    class Inner(msgspec.Struct):
        a: int
        b: "str | None" = None
    globals()["Inner"] = Inner
    @threadsafe
    class Outer(msgspec.Struct):
        one: "Inner"
        many: "list[Inner]"
        named: "dict[str, Inner]"
    told = b'{"one": {"a": 1}, "many": [{"a": 2}], "named": {"x": {"a": 3}}}'
    together = threading.Barrier(4)
    found = []
    def decode():
        together.wait()
        found.append(msgspec.json.decode(told, type=Outer))
    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Outer(Inner(1), [Inner(2)], {"x": Inner(3)})] * 4
"""


def test_a_crowd_of_threads_decodes_it_first() -> None:
    done = subprocess.run([sys.executable, "-c", CROWD], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
