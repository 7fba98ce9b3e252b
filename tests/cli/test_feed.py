"""Events that cannot be had: what is left of them is in the tests of clusters."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator, Iterator

import pytest
from silence import silent

from constellation.address import Address
from constellation.cli import feed
from constellation.control.cluster import Status
from constellation.session.client import MasterError

MASTER = Address.parse("127.0.0.1:9999")


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@contextlib.contextmanager
def dropping() -> Iterator[int]:
    """One at which nobody answers."""
    with silent() as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("closed", [refusing, dropping])
def test_a_port_of_events_that_is_closed_is_told_of(
    closed: Callable[[], contextlib.AbstractContextManager[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_CONNECT", 0.3)
    with closed() as port:
        status = Status("0.1.0", 0, port, (), (), ())
        monkeypatch.setattr(feed, "_status", lambda *_: ("tcp://127.0.0.1:9999", status))
        told = f"of 127.0.0.1:9999 are published at its port {port}, and there is no connection"
        with pytest.raises(MasterError, match=told):
            next(feed.events_of(MASTER, None))


def test_a_feed_that_was_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_AGAIN", 0.0)
    reached = iter([True, False])

    def one_feed(*_: object) -> Generator[dict[str, object], None, bool]:
        yield from ()
        return next(reached)

    status = Status("0.1.0", 7, 1, (), (), ())
    monkeypatch.setattr(feed, "_status", lambda *_: ("tcp://127.0.0.1:9999", status))
    monkeypatch.setattr(feed, "_one_feed", one_feed)
    events = feed.events_of(MASTER, None)
    names = [next(events)["event"] for _ in range(4)]
    assert names == ["feed.lost", "feed.resumed"] * 2
