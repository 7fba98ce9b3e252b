"""What a node says that has no master."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest

from constellation.address import Address
from constellation.session.loop import Loop
from constellation_daemons import service
from constellation_daemons.node.service import Node


class Alone:
    """A node, as far as it says whether it has a master."""

    def __init__(self, *, was_attached: bool) -> None:
        self.was_attached = was_attached


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(service, "_MASTER_PATIENCE", 0.05)
    loop = Loop()
    yield loop
    loop.close()


def said(loop: Loop, caplog: pytest.LogCaptureFixture, address: str, **node: Any) -> str:
    joining = service._Joining(loop, cast("Node", Alone(**node)))
    with caplog.at_level(logging.INFO):
        joining.wait(Address.parse(address))
        # Timers are served in the order of their times.
        over: list[None] = []
        loop.after(0.1, lambda: over.append(None))
        assert loop.run(lambda: bool(over), 10)
    return caplog.text


def test_a_node_that_no_master_takes_says_so_once(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    log = said(loop, caplog, "10.0.0.2:9998", was_attached=False)
    told = "no master has taken this node: start one whose nodes.toml names it by 10.0.0.2:9998, "
    assert log.count(told + "or use --join; it waits") == 1
    assert log.count("no master") == 1


def test_one_that_listens_everywhere_does_not_take_that_for_its_address(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    log = said(loop, caplog, "0.0.0.0:9998", was_attached=False)
    assert "names it by an address of this machine, with port 9998, or use --join" in log


def test_one_that_was_taken_says_nothing(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    assert said(loop, caplog, "10.0.0.2:9998", was_attached=True) == ""
