from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from constellation.session.loop import Loop
from constellation_daemons.agent import gauge as module
from constellation_daemons.agent.gauge import Gauge, Measured
from constellation_daemons.agent.limits import Watched


class Bench:
    def __init__(self) -> None:
        self.loop = Loop()
        self.results: list[Measured] = []
        self.gauge = Gauge(self.loop.selector, self.results.append)

    def until(self, count: int) -> None:
        assert self.loop.run(lambda: len(self.results) >= count, 10.0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gauge.close()
    made.loop.close()


ME = Watched(7, os.getpid(), None, 0)


def test_what_is_measured_comes_back_in_the_loop(bench: Bench) -> None:
    bench.gauge.start([ME], None)
    bench.gauge.start([], None)
    bench.until(2)
    first, second = bench.results
    assert first.used[7] > 1 << 20
    assert first.took > 0
    assert second.used == {}


def test_the_loop_goes_on_while_it_takes_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    class Slow:
        def measure(self, *args: object) -> dict[int, int]:
            assert release.wait(10)
            return {1: 2}

    monkeypatch.setattr(module, "Meter", Slow)
    bench.gauge.start([ME], None)
    done: list[float] = []
    bench.loop.after(0.02, lambda: done.append(time.monotonic()))
    assert bench.loop.run(lambda: bool(done), 5.0)
    assert not bench.results
    release.set()
    bench.until(1)
    assert bench.results[0].used == {1: 2}


def test_an_answer_comes_whatever_happens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def measure(self, *args: object) -> dict[int, int]:
            raise ValueError("strange file")

    monkeypatch.setattr(module, "Meter", Broken)
    bench.gauge.start([ME], None)
    bench.until(1)
    assert bench.results[0].used == {}
    assert "strange file" in caplog.text


def test_closing_waits_for_nothing_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Slow:
        def measure(self, *args: object) -> dict[int, int]:
            assert release.wait(10)
            return {}

    monkeypatch.setattr(module, "Meter", Slow)
    monkeypatch.setattr(module, "_LAST_LIMIT", 0.05)
    bench = Bench()
    bench.gauge.start([ME], None)
    start = time.monotonic()
    bench.gauge.close()
    assert time.monotonic() - start < 5
    thread = bench.gauge._thread
    assert thread is not None
    release.set()
    thread.join(10)
    # Its pipe was left to it.
    os.close(bench.gauge._wake)
    os.close(bench.gauge._waker)
    bench.loop.close()
