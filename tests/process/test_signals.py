from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from constellation.process import signals
from constellation.process.signals import Handlers, Wakeup


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Puts the handlers and the mask of the test process back."""
    handlers = {
        number: handler
        for number in signal.valid_signals()
        if (handler := signal.getsignal(number)) is not None
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_a_signal_of_a_blocked_moment_comes_later() -> None:
    came: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    mask = signals.block_all()
    # Other threads, if there are any, do not block it.
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert not came
    signals.restore_mask(mask)
    assert came == [signal.SIGUSR1]


def test_a_role_has_none_of_the_handlers_and_a_process_has_them_back() -> None:
    def own(number: int, frame: object) -> None:
        pass

    signal.signal(signal.SIGUSR1, own)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handlers = Handlers()
    handlers.clear(catch=[signal.SIGTERM], ignore=[signal.SIGINT])
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN, "what was ignored stays so"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signals.caught
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    handlers.restore()
    assert signal.getsignal(signal.SIGUSR1) is own
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_programs_wakeup_is_taken_away_and_given_back() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    handlers = Handlers()
    assert signal.set_wakeup_fd(-1) == -1
    handlers.restore()
    assert signal.set_wakeup_fd(-1) == write
    os.close(read)
    os.close(write)


def test_a_wakeup_tells_of_every_signal_that_came() -> None:
    signal.signal(signal.SIGUSR1, signals.caught)
    signal.signal(signal.SIGUSR2, signals.caught)
    wakeup = Wakeup()
    assert wakeup.take() == b""
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert select.select([wakeup], [], [], 0)[0] == [wakeup]
    assert sorted(wakeup.take()) == [signal.SIGUSR1, signal.SIGUSR2]
    assert wakeup.take() == b""
    wakeup.close()
    assert signal.set_wakeup_fd(-1) == -1
