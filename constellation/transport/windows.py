"""Whether the windows that somebody waits for are full: for the detection of deadlocks.

What a stream knows of its window may be old, since the message that tells of more may be lost with
its connection. So the peer is asked, at each question, and a window is certain to be full when it
has answered two of them and there is still no room: the second answer was made after the first
was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from constellation.transport.peer import Peer
    from constellation.transport.transport import Transport
    from constellation.wire.stream import Outbound

__all__ = ["Windows"]


class Windows:
    """The windows of a process's streams. Everything is called with the transport's lock held.

    Args:
        transport: Asks the peers.

    Attributes:
        since: The question since which all is so that was found out after the last one.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._question = 0
        self._asked: dict[Outbound, list[int]] = {}  # the last questions, two at most
        self._full: dict[Outbound, bool] = {}  # what was found out at this one
        self.since = 0

    def ask(self, question: int) -> None:
        """Begin anew, with the next question."""
        self._question = self.since = question
        # Nobody waits any more for those that were not asked for at the last one.
        self._asked = {stream: self._asked[stream] for stream in self._full}
        self._full.clear()

    def is_full(self, peer: Peer, stream: Outbound) -> bool:
        """Whether a stream, which has no room, is certain to have none."""
        full = self._full.get(stream)
        if full is None:
            full = self._full[stream] = self._find_out(peer, stream)
        return full

    def _find_out(self, peer: Peer, stream: Outbound) -> bool:
        asked = self._asked.setdefault(stream, [])
        if asked and stream.wanting:
            return False  # it has not answered
        certain = len(asked) == 2
        if certain:
            self.since = min(self.since, asked.pop(0))
        asked.append(self._question)
        peer.link.ask_room(stream)
        self._transport.transmit(peer)
        return certain
