from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from constellation.session.loop import Loop
from constellation_daemons.aside import Aside


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_the_loop_goes_on_meanwhile(loop: Loop) -> None:
    go = threading.Event()
    results: list[int] = []
    where: list[threading.Thread] = []

    def call() -> int:
        where.append(threading.current_thread())
        assert go.wait(20)
        return 7

    Aside(loop, call, results.append, pytest.fail)
    loop.after(0.05, go.set)
    assert loop.run(lambda: bool(results), 20)
    assert results == [7]
    assert where[0] is not threading.current_thread()


def test_an_error_is_told_in_place_of_a_result(loop: Loop) -> None:
    errors: list[Exception] = []

    def call() -> int:
        raise ValueError("no")

    Aside(loop, call, pytest.fail, errors.append)
    assert loop.run(lambda: bool(errors), 20)
    assert repr(errors) == "[ValueError('no')]"
