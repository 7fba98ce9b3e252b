"""A node as a program's bridge sees it: a host whose streams are elsewhere. Pure.

Until the node's agent has connected, what is said to it waits here. When the agent or the node is
lost, it is made up what the agent would have told of each process: that it is silent, and gone; so
nobody waits for a word that will not come.

A process is in one of three states, and an agent that tells what is not in the table is wrong:

==========  ======================  ================================================================
state       what it means           what may be told
==========  ======================  ================================================================
asked       it is being made        `Made`: speaking; `Unmade`: over
speaking    it is there             `Said`, `Told`; `Silent`: silent
silent      it says no more         `Told`; `Gone`: over
==========  ======================  ================================================================
"""

from __future__ import annotations

from collections.abc import Callable

from constellation.control.messages import (
    Crippled,
    FromHost,
    Gone,
    Made,
    Said,
    Silent,
    Told,
    ToMonitor,
    ToProcess,
    Trouble,
    Unmade,
)
from constellation.pid import Pid
from constellation_daemons.agent.messages import Direct, Input, Launch, Tell, ToAgent
from constellation_daemons.bridge.errors import Nonsense

__all__ = ["RemoteHost"]


class RemoteHost:
    """The processes of a program on a node.

    Args:
        node: What the node is called.
        hear: Told what the agent tells.

    Attributes:
        node: What the node is called.
        lost: Why nothing can be done there any more; None: it can.
        ending: Whether the agent is gone, and only its last words are waited for.
        crippled: Why the agent ends, as it has told itself; None: it has not.
    """

    def __init__(self, node: str, hear: Callable[[FromHost, RemoteHost], None]) -> None:
        self.node = node
        self.lost: str | None = None
        self.ending = False
        self.crippled: str | None = None
        self._hear = hear
        self._send: Callable[[ToAgent], None] | None = None
        self._waiting: list[ToAgent] = []
        self._asked: dict[int, None] = {}  # launched, and neither made nor unmade
        self._alive: dict[int, bool] = {}  # made and not gone: whether it may still speak

    @property
    def connected(self) -> bool:
        """Whether there is an agent."""
        return self._send is not None

    @property
    def used(self) -> bool:
        """Whether a process is there, or is being made."""
        return bool(self._asked or self._alive)

    # -- for the roster

    def launch(self, number: int, *, initial: bool = False) -> None:
        """Have a process made."""
        self._asked[number] = None
        if self.lost is None:
            self._say(Launch(number, initial))
        else:
            self.heard(Unmade(number, self._why_unmade(self.lost)))

    def tell(self, number: int, message: ToProcess) -> None:
        """Say something to a process."""
        self._say(Tell(number, message))

    def direct(self, number: int, message: ToMonitor) -> None:
        """Say something to the monitor of a process."""
        self._say(Direct(number, message))

    # -- for the deployment

    def input(self, data: bytes) -> None:
        """Give the initial process input; nothing: that was all."""
        self._say(Input(data))

    def connect(self, send: Callable[[ToAgent], None]) -> None:
        """The agent is there: it is told from now on, and what has waited."""
        self._send = send
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            send(message)

    def heard(self, message: FromHost) -> None:
        """The agent has told something.

        Raises:
            Nonsense: It cannot be. Nothing has changed.
        """
        match message:
            case Made(number, key, endpoint):
                _check_pid(key, endpoint)
                self._expect(message, number in self._asked)
                del self._asked[number]
                self._alive[number] = True
            case Unmade(number):
                self._expect(message, number in self._asked)
                del self._asked[number]
            case Said(number):
                self._expect(message, self._alive.get(number, False))
            case Told(number):
                self._expect(message, number in self._alive)
            case Silent(number):
                self._expect(message, self._alive.get(number, False))
                self._alive[number] = False
            case Gone(number):
                self._expect(message, not self._alive.get(number, True))
                del self._alive[number]
            case Crippled(reason):
                self.crippled = reason
            case Trouble():
                pass
        self._hear(message, self)

    def _expect(self, message: Made | Unmade | Said | Told | Silent | Gone, may_be: bool) -> None:
        if not may_be:
            kind = type(message).__name__
            raise Nonsense(f"node {self.node} tells {kind} of process {message.number}")

    def lose(self, reason: str) -> None:
        """Nothing more will be heard from there. Again this does nothing."""
        if self.lost is not None:
            return
        self.lost = reason
        self._send = None
        self._waiting.clear()
        if self.used:
            self._hear(Crippled(reason), self)
        for number in list(self._asked):
            self.heard(Unmade(number, self._why_unmade(reason)))
        for number, speaks in list(self._alive.items()):
            if speaks:
                self.heard(Silent(number))
            self.heard(Gone(number, reason))

    def _why_unmade(self, reason: str) -> str:
        """Why a process is not made, which stands alone, where "lost:" comes before a reason."""
        name = f"node {self.node}"
        return (self.crippled or f"{name} is lost") if reason == name else reason

    def _say(self, message: ToAgent) -> None:
        if self._send is not None:
            self._send(message)
        elif self.lost is None:
            self._waiting.append(message)


def _check_pid(key: bytes, endpoint: str) -> None:
    try:
        Pid(key, endpoint)
    except ValueError as error:
        raise Nonsense(str(error)) from error
