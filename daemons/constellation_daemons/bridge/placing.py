"""The bridge's side of placements: it asks the master, and asks again when there is a new one.

==============  ==================================  ==============================================
state           what it means                       how it goes on
==============  ==================================  ==============================================
asked           no final answer yet                 Granted, Refused: answered; the master is
                                                    lost: asked again of the next one
answered        the deployment knows                its end, told by `drop` or by the node
==============  ==================================  ==============================================

What a master must know is told as it is, and not only as it happens: each new session begins with
all programs that run, and with those that have ended and no master is known to have heard of.
"""

from __future__ import annotations

import logging
import platform
from functools import partial
from typing import Protocol

from constellation.address import Address, UnknownHost
from constellation.awaited import Awaited
from constellation.resources import Resources
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation_daemons.master.values import Amount
from constellation_daemons.messages import (
    Again,
    AgentLost,
    Ask,
    Believes,
    BridgeHello,
    Drop,
    Examine,
    Examined,
    Finish,
    FromBridge,
    Granted,
    KillProcess,
    KillProgram,
    Missing,
    Named,
    NodeLost,
    Open,
    Refused,
    ToBridge,
    Waits,
    encode,
    to_bridge,
)
from constellation_daemons.names import Names

__all__ = ["MasterPlacing", "Programs"]

logger = logging.getLogger(__name__)

_AGAIN = 1.0
"""Seconds after which a master that is not there is tried again."""
_NOTE_AFTER = 1.0
_ABSENT_AFTER = 3.0
"""Seconds that a process waits for room, and for a master, until the user is told."""


class Programs(Protocol):
    """Whom the answers are for."""

    def open(self) -> None:
        """Take clients from now on."""

    def placed(self, program: bytes, number: int, node: str) -> None:
        """There is room for a process."""

    def refused(self, program: bytes, number: int, kind: str, text: str) -> None:
        """There will be none."""

    def note(self, program: bytes, text: str) -> None:
        """What a program waits for."""

    def node_lost(self, program: bytes, node: str) -> None:
        """A node is lost, and with it what the program had there."""

    def agent_lost(self, program: bytes, node: str, text: str) -> None:
        """A program has no agent on a node any more."""

    def examine(self, question: int) -> None:
        """All processes are to be asked what they wait for."""

    def kill(self, program: bytes, cause: str) -> None:
        """A user of the cluster has ended a program."""

    def kill_process(self, program: bytes, number: int, cause: str) -> None:
        """A user of the cluster has ended a process."""


class MasterPlacing:
    """Asks the master where processes run.

    Args:
        loop: The bridge's.
        sessions: Those that it opens.
        master: Where the master is reached.
        endpoint: Where agents reach this bridge.
    """

    def __init__(self, loop: Loop, sessions: Sessions, master: Address, endpoint: str) -> None:
        self._loop = loop
        self._sessions = sessions
        self._address = master
        self._names = Names(loop)
        self._dials = 0
        self._complaint = ""  # what was logged last of its name: once is enough
        self._own_endpoint = endpoint
        self._programs: Programs | None = None
        self._asked: dict[bytes, dict[int, Ask]] = {}
        self._next: dict[bytes, int] = {}  # the lowest number that was not asked for, by program
        self._names_of: dict[bytes, str] = {}  # programs, for people
        self._noted: dict[bytes, set[str]] = {}  # what users were told since all had room
        self._lost: dict[bytes, set[tuple[str, int]]] = {}  # nodes that are lost to a program
        self._ended: dict[bytes, None] = {}  # programs, of which no master may have heard it
        self._dropped: dict[Drop, None] = {}  # of which the same is to be said
        self._master: Session | None = None
        self._present = False  # the master has said something
        self._missing: tuple[str, ...] = ()  # nodes that it waits for

    def start(self, programs: Programs) -> None:
        """Look for the master."""
        self._programs = programs
        self._dial()

    # -- for deployments

    def begin(self, program: bytes, name: str) -> None:
        """A program is about to ask for its first process.

        Args:
            program: The program.
            name: What is run, for people.
        """
        self._names_of[program] = name

    def ask(self, program: bytes, number: int, resources: Resources, *, wait: bool) -> None:
        """A process is to be made."""
        if program not in self._next:
            self._say_name(program)
        need = Amount.of(resources)
        asked = self._asked.setdefault(program, {})
        self._next[program] = number + 1
        answered = min(asked, default=number)
        ask = asked[number] = Ask(program, number, need.mem, need.cpu, wait, answered)
        self._say(ask)
        if not self._present:
            self._loop.after(_ABSENT_AFTER, partial(self._note_absence, program))

    def drop(self, program: bytes, number: int) -> None:
        """It is not, or is lost: it needs no room."""
        self._answered(program, number)
        self._forget_received()
        drop = Drop(program, number)
        self._dropped[drop] = None
        self._say(drop)

    def examined(
        self,
        program: bytes,
        number: int,
        node: str,
        question: int,
        threads: tuple[Awaited, ...],
        progress: int,
    ) -> None:
        """A process does nothing but wait."""
        self._say(Examined(program, number, node, question, threads, progress))

    def finish(self, program: bytes) -> None:
        """The program has ended."""
        self._names_of.pop(program, None)
        self._asked.pop(program, None)
        self._next.pop(program, None)
        self._noted.pop(program, None)
        self._lost.pop(program, None)
        self._forget_received()
        self._dropped = {drop: None for drop in self._dropped if drop.program != program}
        self._ended[program] = None
        self._say(Finish(program))

    @property
    def lacking(self) -> str:
        """What has to come before anything can be placed, for people."""
        if not self._present:
            return f"the master, {self._address}, which is not there"
        return f"nodes that have not joined: {', '.join(self._missing)}"

    # -- the master

    def _dial(self) -> None:
        self._names.find(self._address, self._found, self._unknown)

    def _unknown(self, error: UnknownHost) -> None:
        if str(error) != self._complaint:
            logger.warning("the master cannot be looked for: %s; it is tried again", error)
            self._complaint = str(error)
        self._loop.after(_AGAIN, self._dial)

    def _found(self, addresses: list[Address]) -> None:
        self._complaint = ""
        # One of them each time: it may be that only some lead there.
        self._dials += 1
        self._master = self._sessions.dial(addresses[self._dials % len(addresses)].endpoint)
        self._say(
            BridgeHello(
                self._own_endpoint,
                platform.python_version(),
                tuple(self._next),
                tuple(self._ended),
            )
        )
        for program in self._next:
            self._say_name(program)
        for program, lost in self._lost.items():
            for node, incarnation in lost:
                self._say(Believes(program, node, incarnation))
        for asked in self._asked.values():
            for ask in asked.values():
                self._say(ask)
        for drop in self._dropped:
            self._say(drop)

    def owns(self, session: Session) -> bool:
        """Whether a session is that with the master."""
        return session is self._master

    def heard(self, message: bytes) -> None:
        """The master has said something."""
        self._present = True
        self._obey(to_bridge.decode(message))

    def ended(self, reason: str | None) -> None:
        """The master is gone: what runs goes on, and what waits is asked of the next one."""
        logger.warning("the master is gone: %s", reason or "it has ended")
        self._forget_received()
        self._master = None
        if self._present:
            self._present = False
            for program in self._asked:
                self._loop.after(_ABSENT_AFTER, partial(self._note_absence, program))
        self._loop.after(_AGAIN, self._dial)

    def _forget_received(self) -> None:
        """A master that has received all that was said knows what has ended, and is not wanted."""
        if self._master is not None and not self._master.unreceived:
            self._ended.clear()
            self._dropped.clear()

    def _say_name(self, program: bytes) -> None:
        if program in self._names_of:
            self._say(Named(program, self._names_of[program]))

    def _say(self, message: FromBridge) -> None:
        if self._master is not None:
            self._master.send(encode(message))

    def _obey(self, message: ToBridge) -> None:
        programs = self._programs
        assert programs is not None
        match message:
            case Open():
                self._missing = ()
                programs.open()
            case Missing(nodes):
                self._missing = nodes
            case Granted(program, number, node, incarnation):
                # It is there again, and has ended what it had of the program before. To say later
                # that it is lost would have it end what it has now.
                self._lost.get(program, set()).discard((node, incarnation))
                if self._answered(program, number):
                    programs.placed(program, number, node)
                elif program not in self._next:
                    self._say(Finish(program))
            case Refused(program, number, kind, text):
                if self._answered(program, number):
                    programs.refused(program, number, kind, text)
            case Again(program, number):
                ask = self._asked.get(program, {}).get(number)
                if ask is not None:
                    self._say(ask)
            case Waits(program, number, missing):
                self._loop.after(_NOTE_AFTER, lambda: self._note(program, number, missing))
            case NodeLost(program, node, incarnation):
                # It may have ended meanwhile. To say later what it believes would have each master
                # take it for one that runs, for as long as this bridge does.
                if program in self._next:
                    self._lost.setdefault(program, set()).add((node, incarnation))
                    programs.node_lost(program, node)
            case AgentLost(program, node, text):
                programs.agent_lost(program, node, text)
            case Examine(question):
                programs.examine(question)
            case KillProgram(program, cause):
                programs.kill(program, cause)
            case KillProcess(program, number, cause):
                programs.kill_process(program, number, cause)

    def _answered(self, program: bytes, number: int) -> bool:
        """A process waits for no answer any more. Gives whether it did."""
        asked = self._asked.get(program, {})
        waited = asked.pop(number, None) is not None
        if not asked:
            self._noted.pop(program, None)
        return waited

    def _note(self, program: bytes, number: int, missing: bool) -> None:
        """Tell the user, if it still waits."""
        if number in self._asked.get(program, {}):
            what = "a node that is large enough" if missing else "room"
            self._tell(program, f"a process waits for {what}")

    def _note_absence(self, program: bytes) -> None:
        """Tell the user, if there still is no master."""
        if self._asked.get(program) and not self._present:
            self._tell(program, f"a process waits for {self.lacking}")

    def _tell(self, program: bytes, text: str) -> None:
        """Tell it once, and not for each process and each renewal."""
        noted = self._noted.setdefault(program, set())
        if text not in noted and self._programs is not None:
            noted.add(text)
            self._programs.note(program, text)
