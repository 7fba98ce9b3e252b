"""Waiting on descriptors, and being woken."""

from __future__ import annotations

import os
import threading

from constellation.transport.descriptors import Poller, Wakeup


def test_a_poller_says_which_have_input() -> None:
    poller = Poller()
    one, other = Wakeup(), Wakeup()
    poller.add(one.fileno())
    poller.add(other.fileno())
    assert poller.wait(0) == []
    other.set()
    assert poller.wait(None) == [other.fileno()]
    one.set()
    assert sorted(poller.wait(0)) == sorted([one.fileno(), other.fileno()])
    one.clear()
    assert poller.wait(0) == [other.fileno()]
    poller.remove(other.fileno())
    assert poller.wait(0) == []
    for each in (poller, one, other):
        each.close()


def test_one_that_is_left_out_for_now_shows_what_came_meanwhile() -> None:
    poller, wakeup = Poller(), Wakeup()
    poller.add(wakeup.fileno())
    poller.arm(wakeup.fileno(), False)
    wakeup.set()
    assert poller.wait(0) == []
    poller.arm(wakeup.fileno(), True)
    assert poller.wait(0) == [wakeup.fileno()]
    poller.close()
    wakeup.close()


def test_a_poller_is_itself_waited_on() -> None:
    inner, outer, wakeup = Poller(), Poller(), Wakeup()
    inner.add(wakeup.fileno())
    outer.add(inner.fileno())
    assert outer.wait(0) == []
    wakeup.set()
    assert outer.wait(None) == [inner.fileno()]
    wakeup.clear()
    assert outer.wait(0) == []
    for each in (inner, outer, wakeup):
        each.close()


def test_many_wake_ups_are_one() -> None:
    poller, wakeup = Poller(), Wakeup()
    poller.add(wakeup.fileno())
    for _ in range(100_000):  # more than the pipe holds
        wakeup.set()
    while poller.wait(0):
        wakeup.set()  # a byte that came late
        wakeup.clear()
    wakeup.clear()
    assert poller.wait(0) == []
    wakeup.set()
    assert poller.wait(0) == [wakeup.fileno()]
    poller.close()
    wakeup.close()


def test_no_wake_up_is_lost_between_threads() -> None:
    poller, wakeup = Poller(), Wakeup()
    poller.add(wakeup.fileno())
    turns = 2000
    asked, seen = 0, 0
    done = threading.Event()
    taken = threading.Semaphore(0)

    def ask() -> None:
        nonlocal asked
        for _ in range(turns):
            asked += 1
            wakeup.set()
            taken.acquire()
        done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    while seen < turns:
        poller.wait(None)
        wakeup.clear()
        while seen < asked:
            seen += 1
            taken.release()
    thread.join()
    assert done.is_set()
    poller.close()
    wakeup.close()


def test_no_descriptor_is_inherited() -> None:
    poller, wakeup = Poller(), Wakeup()
    assert not any(map(os.get_inheritable, (poller.fileno(), wakeup.fileno())))
    poller.close()
    wakeup.close()
