"""The node that a master is itself: a process of its own, which outlives the master if it has to.

=========  ===========================================  ============================================
state      what it means                                how it goes on
=========  ===========================================  ============================================
seeking    it is looked who has the place (`seat`)      nobody: started; somebody who takes a
                                                        lifeline: greeted; somebody who does not:
                                                        it starts or ends, so seeking, again
started    a child, which was told what it is to be     it is tied: tied; it ends: seeking
greeted    a node of an earlier master, which was       it is tied: tied; it cannot serve, or does
           asked to serve this one                      not answer: ended; it ends: seeking
tied       it serves this master                        it ends: seeking
ended      it was told to end, and is killed if it      it has ended: seeking, or if this master
           does not                                     is to stop, that is all
=========  ===========================================  ============================================
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import select
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from time import monotonic

from constellation.control.stream import ControlError, MessageStream
from constellation.process import system
from constellation.session.loop import Loop, Timer
from constellation.transport.descriptors import explained
from constellation.version import VERSION
from constellation_daemons import logs
from constellation_daemons.children import start_part
from constellation_daemons.node.ending import KILL_LIMIT, STOP_LIMIT
from constellation_daemons.node.groups import prepare
from constellation_daemons.node.lifeline import (
    TAKEN,
    NodeSetup,
    Serves,
    Tie,
    Tied,
    ToMaster,
    Unfit,
    to_master,
)
from constellation_daemons.node.seat import Seat

__all__ = ["LIMIT", "NodeProcess"]

logger = logging.getLogger(__name__)

LIMIT = STOP_LIMIT + KILL_LIMIT + 3.0
"""Seconds after which a node that is to end in order has, or is killed."""
_AGAIN = 1.0
"""Seconds between two starts."""
_LOOK = 0.1
"""Seconds until it is looked again for one that starts or ends."""
_ANSWER_LIMIT = 5.0
"""Seconds that a node has to say whether it serves this master."""
_MOST_REFUSALS = 10
"""How often it may end a lifeline without an answer, which is the beginning of its end."""
_SILENT_LIMIT = 2.0
"""Seconds that one which does not say has to end."""


class _Child:
    """A process that this one has started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self.code: int | None = None  # as `Popen` has it

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        self.code = self._process.poll()
        return self.code is not None

    def close(self) -> None:
        """Nothing was opened for it."""


class _Stranger:
    """A process that another one has started.

    Raises:
        OSError: It has ended.
    """

    def __init__(self, loop: Loop, seat: Seat, pid: int, look: Callable[[], None]) -> None:
        self.pid = pid
        self.code: int | None = None
        self._loop = loop
        self._seat = seat
        self._fd = -1
        # Where there is no such thing (it is not Linux) its number has to do, and it is looked.
        opening = getattr(os, "pidfd_open", None)
        if opening is not None and pid:
            with contextlib.suppress(OSError):  # there is no such call, or process
                self._fd = opening(pid)
        if seat.holder() != pid:  # its number may be another's by now
            self.close()
            raise ProcessLookupError(pid)
        if self._fd >= 0:
            loop.selector.register(self._fd, selectors.EVENT_READ, lambda events: look())

    def signal(self, number: int) -> None:
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):
            if self._fd >= 0:
                signal.pidfd_send_signal(self._fd, number)  # type: ignore[attr-defined,unused-ignore]
            elif self.pid and not self.gone:
                os.kill(self.pid, number)

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        if self._fd >= 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            return bool(poll.poll(0))
        return self._seat.holder() != self.pid

    def close(self) -> None:
        """Look at it no more."""
        if self._fd >= 0:
            with contextlib.suppress(KeyError):
                self._loop.selector.unregister(self._fd)
            os.close(self._fd)
            self._fd = -1


class NodeProcess:
    """The node of a master: found or started, and started again whenever it ends.

    Args:
        loop: The master's.
        seat: The place of that node.
        setup: What it is told.
    """

    def __init__(self, loop: Loop, seat: Seat, setup: NodeSetup) -> None:
        self._loop = loop
        self._seat = seat
        self._setup = setup
        self._part: _Child | _Stranger | None = None
        self._stream: MessageStream[ToMaster] | None = None
        self._tied = False
        self._waiting: list[Callable[[], None]] = []  # for that
        self._stopping = False
        self._over = False
        self._condemned = False  # it was told to end
        self._timer: Timer | None = None  # what is due if nothing comes before
        self._started_at = monotonic() - _AGAIN
        self._since: float | None = None  # since when somebody is there who takes no lifeline
        self._refusals = 0  # of its lifelines, one after the other
        self._seen: int | None = None  # who had the place when this one began to stop
        self._complaint = ""  # what was logged last: once is enough
        loop.after(0, self._seek)

    def when_tied(self, action: Callable[[], None]) -> None:
        """Have something done when there is a node that serves this master."""
        if self._tied:
            action()
        else:
            self._waiting.append(action)

    @property
    def ended(self) -> bool:
        """Whether it runs no more, after a stop, and nothing that it has left to this process."""
        return self._over and not self._children()

    def stop(self) -> None:
        """End it, with all that runs there."""
        self._stopping = True
        self._cancel_timer()
        if self._part is None:
            self._seek()
        else:
            if not self._condemned:
                self._part.signal(signal.SIGTERM)
            self._look()

    def kill(self) -> None:
        """End it, without what runs there having a say."""
        if self._part is not None:
            self._part.signal(signal.SIGKILL)

    def reap(self) -> None:
        """A child has ended, or more: the node, or what one that was killed has left."""
        if self._part is not None and isinstance(self._part, _Child) and self._part.gone:
            self._part_gone()
        for child in self._children():
            if self._part is None or child != self._part.pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, os.WNOHANG)

    def _children(self) -> list[int]:
        try:
            return system.children()
        except OSError as error:  # strangers may have taken all descriptors
            logger.warning("children cannot be looked for: %s", explained(error))
            return []

    # -- seeking

    def _seek(self) -> None:
        self._timer = None
        if self._over or self._part is not None:
            return
        try:
            holder = self._seat.holder()
        except OSError as error:
            self._complain(f"it cannot be seen whether the node of this master runs: {error}")
            self._wait(_AGAIN, self._seek)
            return
        if holder is not None:
            self._approach(holder)
        elif self._stopping:
            self._over = True
        else:
            self._since = None
            self._start()

    def _start(self) -> None:
        pause = self._started_at + _AGAIN - monotonic()
        if pause > 0:
            self._wait(pause, self._seek)
            return
        self._started_at = monotonic()
        prepare()  # so that the node, which starts where this process is, can divide the group
        try:
            self._begin()
        except OSError as error:
            logger.error("the node of this master cannot be started: %s", explained(error))
            self._wait(_AGAIN, self._seek)

    def _begin(self) -> None:
        """Start a child.

        Raises:
            OSError: That cannot be.
        """
        ours, theirs = socket.socketpair()
        level = str(logging.getLogger().getEffectiveLevel())
        form = logs.current_format().value
        try:
            child = start_part(
                "constellation_daemons.node.main", theirs.fileno(), level, form, apart=True
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._part = _Child(child)
        self._follow(ours)
        self._post(self._setup)

    def _approach(self, holder: int) -> None:
        """Somebody is there."""
        try:
            self._part = _Stranger(self._loop, self._seat, holder, self._look)
        except OSError:  # not any more
            self._wait(_LOOK, self._seek)
            return
        if self._stopping:
            self._end_stranger()
            return
        try:
            log = logs.descriptor()
            try:
                self._follow(self._seat.connect())
            except OSError:
                os.close(log)
                raise
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            self._await_place()
            return
        except OSError as error:  # of this process: strangers may have taken all descriptors
            self._complain(f"the node of this master cannot be asked: {explained(error)}")
            self._let_go()
            self._wait(_AGAIN, self._seek)
            return
        public = self._setup.public
        level, form = logging.getLogger().getEffectiveLevel(), logs.current_format().value
        self._post(Tie(VERSION, platform.python_version(), public, level, form), log)
        self._wait(_ANSWER_LIMIT, self._unanswered)

    def _end_stranger(self) -> None:
        """This master is to stop, and so is its node, though it is not tied."""
        assert self._part is not None
        if self._part.pid == self._seen:
            self._part.signal(signal.SIGTERM)
            self._look_again()
            return
        # Who removes what is left in a place has that for a moment too, and may be anybody's node.
        self._seen = self._part.pid
        self._let_go()
        self._wait(_LOOK, self._seek)

    def _await_place(self) -> None:
        """It takes no lifeline: it is about to, or it ends."""
        now = monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= LIMIT:
            self._since = None
            self._condemn(f"it has neither ended nor listened for {LIMIT:g} s", 0.0)
            return
        self._let_go()
        self._wait(_LOOK, self._seek)

    # -- what it says

    def _follow(self, sock: socket.socket) -> None:
        self._stream = MessageStream(sock, to_master)
        self._loop.selector.register(self._stream, selectors.EVENT_READ, self._ready)

    def _post(self, message: NodeSetup | Tie, *descriptors: int) -> None:
        assert self._stream is not None
        with contextlib.suppress(ConnectionError):  # which is about to be seen
            self._stream.post(message, descriptors)

    def _ready(self, events: int) -> None:
        assert self._stream is not None
        try:
            messages = self._stream.receive()
        except (EOFError, ControlError):
            self._unfollow()
            self._silenced()
            return
        for message in messages:
            match message:
                case Tied():
                    self._is_tied()
                case Unfit(reason):
                    self._condemn(reason, LIMIT)
                case Serves():
                    self._complain("the node at this address serves another master, which lives")
                    self._let_go()
                    self._wait(_AGAIN, self._seek)

    def _is_tied(self) -> None:
        if self._condemned or self._stopping:
            return
        self._cancel_timer()
        self._since = None
        self._refusals = 0
        self._complaint = ""
        self._tied = True
        if isinstance(self._part, _Stranger):
            logger.info("the node of an earlier master goes on as that of this one")
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def _silenced(self) -> None:
        """The lifeline has ended, and the process with it, or soon."""
        tied, self._tied = self._tied, False
        if isinstance(self._part, _Child) or self._part is None:
            return  # whose end is told by a signal
        if self._condemned or self._stopping:
            self._look()
        elif tied:
            logger.error("the node of this master has ended; it is started again")
            self._let_go()
            self._wait(_LOOK, self._seek)
        elif self._refusals < _MOST_REFUSALS:
            self._refusals += 1
            self._await_place()
        else:
            self._condemn("it does not understand this master", LIMIT)

    def _unanswered(self) -> None:
        self._timer = None
        self._condemn(f"it has not answered within {_ANSWER_LIMIT:g} s", _SILENT_LIMIT)

    # -- its end

    def _condemn(self, reason: str, patience: float) -> None:
        """It is of no use: have it end, and kill it if it has not after so many seconds."""
        self._cancel_timer()
        if self._condemned or self._part is None:
            return
        self._condemned = True
        logger.warning(
            "the node that an earlier master has started here cannot be used: %s; it is ended, "
            "with what it runs",
            reason,
        )
        if not self._part.pid:
            self._complain("that node is in another container, and has to be ended there")
        self._part.signal(signal.SIGTERM)
        self._loop.after(patience, partial(self._too_late, self._part))
        self._look_again()

    def _too_late(self, part: _Child | _Stranger) -> None:
        if part is self._part:
            logger.warning("it has not ended, and is killed")
            part.signal(signal.SIGKILL)

    def _look_again(self) -> None:
        """See whether it has ended, where nothing else may tell."""
        self._wait(_LOOK, self._look)

    def _look(self) -> None:
        part = self._part
        if isinstance(part, _Stranger):
            if part.gone:
                self._part_gone()
            else:
                self._look_again()

    def _part_gone(self) -> None:
        part = self._part
        assert part is not None
        if isinstance(part, _Child) and not self._stopping and part.code != TAKEN:
            logger.error(
                "the node of this master has ended with %d; it is started again", part.code
            )
        self._let_go()
        self._seek()

    def _let_go(self) -> None:
        """Have to do with nobody."""
        self._cancel_timer()
        self._unfollow()
        if self._part is not None:
            self._part.close()
        self._part = None
        self._tied = self._condemned = False

    def _unfollow(self) -> None:
        if self._stream is not None:
            self._loop.selector.unregister(self._stream)
            self._stream.close()
            self._stream = None

    # -- time

    def _wait(self, seconds: float, action: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.after(seconds, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            logger.error("%s; it is tried again", text)
            self._complaint = text
