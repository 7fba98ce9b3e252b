from __future__ import annotations

import os
import signal

import pytest

from constellation.process import system


def fork(code: int) -> int:
    child = os.fork()
    if not child:
        os._exit(code)
    return child


@pytest.mark.parametrize("waitid", [True, False])
def test_the_dead_are_reaped_one_by_one(waitid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not waitid:  # as on macOS before Python 3.13
        monkeypatch.delattr(os, "waitid")
    read, write = os.pipe()
    alive = os.fork()
    if not alive:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    dying: list[int] = []
    assert system.reap(dying.append) is None
    dead = {fork(3): 3, fork(4): 4}
    found = {}
    while len(found) < len(dead):
        reaped = system.reap(dying.append)
        if reaped is not None:
            child, status, usage = reaped
            found[child] = os.waitstatus_to_exitcode(status)
            assert usage.ru_maxrss > 0
    assert found == dead
    assert sorted(dying) == sorted(dead)
    assert system.reap(dying.append) is None
    os.kill(alive, signal.SIGKILL)
    os.waitpid(alive, 0)
    os.close(write)
    with pytest.raises(ChildProcessError):
        system.reap(dying.append)


def test_a_child_is_there_while_it_is_dying() -> None:
    if not hasattr(os, "waitid"):
        pytest.skip("it is not told before it is reaped")
    child = fork(0)
    states: list[object] = []

    def dying(number: int) -> None:
        os.kill(number, 0)  # raises if nobody has that number
        states.append(number)

    while system.reap(dying) is None:
        pass
    assert states == [child]
