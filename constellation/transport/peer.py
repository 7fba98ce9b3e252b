"""One peer as the transport sees it: its link, its routes, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from constellation.exit_status import ExitStatus
    from constellation.pid import Pid
    from constellation.transport.memory import Ledger
    from constellation.wire.events import Arrived, Closed, Opened
    from constellation.wire.link import Link

__all__ = ["Inlet", "Outlet", "Peer"]


class Inlet(Protocol):
    """Where what comes on the streams of one name goes. Called with the lock held."""

    @property
    def in_use(self) -> bool:
        """Whether somebody holds it."""

    @property
    def unread(self) -> bool:
        """Whether something is in it that nobody has taken."""

    @property
    def overlooked(self) -> int:
        """How many values are in it that its reader seems not to know of."""

    # Each event may be passed on twice, if the first time was interrupted.

    def opened(self, event: Opened) -> None:
        """A Sender was made at the other end."""

    def arrived(self, event: Arrived) -> None:
        """A message, in its place in the order."""

    def closed(self, event: Closed) -> None:
        """The Sender was closed."""

    def ended(self) -> None:
        """The peer is gone and everything that came from it was given over."""

    def forked(self, lock: Any) -> None:
        """This is a fork of the process: nothing of it may be used here, as the lock says."""


class Outlet(Protocol):
    """Where what goes on the streams of one name comes from. Called with the lock held."""

    @property
    def in_use(self) -> bool:
        """Whether somebody holds it."""

    def flush(self) -> bool:
        """Hand the batch to the stream; False if a thread is writing to it right now."""

    def room(self) -> None:
        """The window has room again."""

    def received(self) -> None:
        """The peer's runtime received more."""

    def ended(self) -> None:
        """The peer is gone: nobody will read."""

    def shut(self) -> None:
        """This process is leaving: close what is open."""

    def forked(self) -> None:
        """This is a fork of the process: nothing of it may be used here."""


class Peer:
    """Everything of one peer. Guarded by the transport's lock.

    Attributes:
        pid: The peer.
        link: The protocol with it. It lives as long as the peer, whatever becomes of routes.
        route: The route that is sent on, None if there is none yet.
        routes: All routes that are not known to have ended.
        down: Those of them that are disconnected, and may come back.
        left: It said BYE: nothing more comes, and nothing more is read.
        exit_known: The bridge has said that it exited, with `status` if that is known.
        ended: It has exited, and all that it sent was given over.
        lends: Whether it maps what this process lends.
        offer_at: From when on it may be asked whether it does.
        ledger: What it lends to this process.
        dialled_at: Since when it has not been heard of, while it is to be asked why.
        sealed: Whether nothing ever goes to it but encrypted.
        cut_off: Why no route to it can be opened, while there should be one and is none.
    """

    __slots__ = (
        "_holder",
        "cut_off",
        "dialled_at",
        "down",
        "due",
        "ended",
        "ending_since",
        "exit_known",
        "idle_since",
        "inlets",
        "last_arrival",
        "ledger",
        "left",
        "lends",
        "link",
        "offer_at",
        "outlets",
        "pid",
        "route",
        "routes",
        "sealed",
        "status",
    )

    def __init__(self, pid: Pid, link: Link) -> None:
        self.pid = pid
        self.link = link
        self.route: bytes | None = None
        self.routes: set[bytes] = set()
        self.down: set[bytes] = set()
        self.inlets: dict[str, Inlet] = {}
        self.outlets: dict[str, Outlet] = {}
        self.left = False
        self.exit_known = False
        self.status: ExitStatus | None = None
        self.ending_since = 0.0
        self.ended = False
        self.last_arrival = 0.0
        self.idle_since: float | None = None  # since when it may be that no handle needs it
        self._holder: Inlet | Outlet | None = None  # one that was in use, the last time
        self.due: float | None = None  # the timer set for it
        self.lends = False
        self.offer_at = 0.0
        self.ledger: Ledger | None = None
        self.dialled_at: float | None = None
        self.sealed = False
        self.cut_off: str | None = None

    @property
    def held(self) -> bool:
        """Whether a handle needs this peer."""
        if self._holder is not None and self._holder.in_use:
            return True
        # The newest first: they are closed last, if at all, and the others stay for ever.
        of_both: tuple[Iterable[Inlet | Outlet], ...] = (
            reversed(self.outlets.values()),
            reversed(self.inlets.values()),
        )
        self._holder = next((each for some in of_both for each in some if each.in_use), None)
        return self._holder is not None

    @property
    def settled(self) -> bool:
        """Whether nothing that this process sent to it is still to be received."""
        # What is reserved is ours: whoever waits for its receipt waits for it himself.
        return (
            self.ended
            or self.left
            or self.exit_known
            or all(each.delivered or each.name.startswith("\0") for each in self.link.streams)
        )

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way to it, of values and of what it may send in return."""
        return self.settled and (self.ended or self.exit_known or self.left or self.link.quiet)

    @property
    def undelivered(self) -> str:
        """What it should have received and did not, as a line for people; empty if all is well."""
        # Who leaves in order has read what it wanted.
        orderly = self.left or (self.status is not None and self.status.success)
        lost = {} if orderly else self.link.undelivered
        # What is reserved is ours to care for.
        count = sum(number for name, number in lost.items() if not name.startswith("\0"))
        if not count:
            return ""
        if self.exit_known:
            why = "it has exited"
        elif self.cut_off is not None:
            why = f"it cannot be connected to: {self.cut_off}"
        else:
            why = "it did not acknowledge in time"
        return f"{_values(count)} sent to process {self.pid} may not have been received: {why}"

    @property
    def overlooked(self) -> str:
        """What came from it and was not received, for a reason that is seldom meant, as a line."""
        count = sum(inlet.overlooked for inlet in self.inlets.values())
        if not count:
            return ""
        verb = "was" if count == 1 else "were"
        return (
            f"{_values(count)} from process {self.pid} {verb} not received: the Receiver was told "
            "of the end of a Sender, and this came from the next. A Sender is closed when it is "
            "dropped: keep one for all that belongs together"
        )

    def __repr__(self) -> str:
        state = "ended" if self.ended else "exited" if self.exit_known else "alive"
        return f"<Peer {self.pid} {state}>"


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"
