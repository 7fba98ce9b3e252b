"""Two links and the routes between them, with the losses that the transport's routes have.

A route keeps the order of what goes over it. What can happen to it, as with libzmq's connections:

- It is cut. Of what was under way a part has arrived and is read some time later, a part is lost,
  and of what its dialler sent the rest waits in the dialler, to go when the route is restored. The
  dialler is told of the cut when it has read all that came; the accepter finds out only when it
  sends something, and that is lost.
- Both ends dial, so there are two routes, and what comes over one may overtake the other.
- A frame is lost on the way to the socket: an interrupt came in between.

Everything goes through the codec. Whatever happens by chance does so the same for the same seed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

from constellation.testing.clock import ManualClock
from constellation.wire.codec import decode, encode
from constellation.wire.events import Event
from constellation.wire.frames import Frame, Hello
from constellation.wire.link import Link

__all__ = ["End", "Route", "SimulatedNetwork"]

_Message = list[bytes]


class End:
    """A process: its link, and what its transport would know of the routes.

    Attributes:
        link: The protocol with the process at the other end.
        alive: Whether the process lives.
        route: The route that it sends on.
        events: What the link has told, in order.
    """

    def __init__(self, name: str, link: Link) -> None:
        self._name = name
        self.link = link
        self.alive = True
        self.route: Route | None = None
        self.events: list[Event] = []
        self.met = False  # it knows the other end, and so takes other frames than HELLO
        self.losing = 0  # so many frames are lost before the route sees them

    def __repr__(self) -> str:
        return f"<End {self._name}{'' if self.alive else ', dead'}>"


class Route:
    """A connection.

    Attributes:
        dialler: The end that opened it, and that connects it again.
        accepter: The other end.
        up: Whether it is connected.
    """

    def __init__(self, dialler: End, accepter: End) -> None:
        self.dialler = dialler
        self.accepter = accepter
        self.up = False
        self.usable = {dialler, accepter}  # the ends that do not know that it has ended
        self.under_way: dict[End, deque[_Message]] = {dialler: deque(), accepter: deque()}
        self.unread: deque[_Message] = deque()  # has reached the accepter over what was cut

    def __repr__(self) -> str:
        return f"<Route of {self.dialler}, {'up' if self.up else 'down'}>"


class SimulatedNetwork:
    """Two ends and everything between them.

    Args:
        clock: The time.
        links: The two links.
        seed: What happens by chance follows from it.

    Attributes:
        ends: The two ends.
        routes: All routes that there ever were.
    """

    def __init__(self, clock: ManualClock, *links: Link, seed: int = 0) -> None:
        first, second = links
        self.clock = clock
        self.ends = (End("first", first), End("second", second))
        self.routes: list[Route] = []
        self._random = random.Random(seed)

    def other(self, end: End) -> End:
        """The end that this one talks to."""
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    # -- what goes right

    def send(self, end: End) -> None:
        """Put what the end has to send on its way."""
        link = end.link
        while end.alive and link.pending:
            end.met = True
            if end.route is None:
                end.route = self._choose(end)
                link.route_up(self.clock.now)
            frame = link.next_frame(self.clock.now)
            if frame is None:
                return
            if end.losing:
                end.losing -= 1
            else:
                self._send(end, end.route, frame)

    def _choose(self, end: End) -> Route:
        for route in self.routes:
            if end in route.usable and (route.up or end is route.accepter):
                return route
        route = Route(end, self.other(end))
        # It takes its time to connect, or not.
        route.up = self.other(end).alive and self._random.random() < 0.5
        self.routes.append(route)
        return route

    def _send(self, end: End, route: Route, frame: Frame) -> None:
        if end is route.accepter and not route.up:
            route.usable.discard(end)
            end.route = None
        else:
            parts = [bytes(part) for part in encode(frame)]
            route.under_way[self.other(end)].append(parts)

    def deliver(self) -> bool:
        """Let one message arrive, over whichever route. Says whether there was one."""
        waiting = list(self._waiting())
        if waiting:
            end, route, messages = self._random.choice(waiting)
            self._arrive(end, route, messages.popleft())
        return bool(waiting)

    def _waiting(self) -> Iterator[tuple[End, Route, deque[_Message]]]:
        for route in self.routes:
            if route.unread:
                yield route.accepter, route, route.unread
            if route.up:
                for end, messages in route.under_way.items():
                    if messages:
                        yield end, route, messages

    def _arrive(self, end: End, route: Route, message: _Message) -> None:
        if not end.alive:
            return
        frame = decode(message)
        end.met = end.met or type(frame) is Hello
        if not end.met:
            return
        if route.up:
            route.usable.add(end)
            if end.route is None:
                end.route = route
                end.link.route_up(self.clock.now)
        end.link.receive(frame, self.clock.now)
        end.events += end.link.events()

    def advance(self, seconds: float) -> None:
        """Let time pass, and the links see it."""
        self.clock.advance(seconds)
        for end in self.ends:
            if end.alive:
                end.link.tick(self.clock.now)

    def exchange(self) -> None:
        """Send and deliver until there is nothing that can arrive."""
        delivered = True
        while delivered:
            for end in self.ends:
                self.send(end)
            delivered = self.deliver()

    def settle(self, *, ticks: int = 100) -> None:
        """Let nothing go wrong, and go on until nothing is left to be sent or waited for.

        Raises:
            AssertionError: It does not come to that within so many deadlines.
        """
        for end in self.ends:
            end.losing = 0
        for _ in range(ticks):
            self._exchange_over_all()
            due = [end.link.deadline() for end in self.ends if end.alive]
            times = [time for time in due if time is not None]
            if not times:
                return
            self.advance(max(0.0, min(times) - self.clock.now))
        raise AssertionError(f"not settled after {ticks} deadlines")

    def _exchange_over_all(self) -> None:
        self.exchange()
        while all(end.alive for end in self.ends) and not all(route.up for route in self.routes):
            for route in self.routes:
                self.restore(route)
            self.exchange()

    # -- what goes wrong

    def lose(self, end: End, frames: int = 1) -> None:
        """The next frames that the end sends are lost."""
        end.losing += frames

    def cut(self, route: Route) -> None:
        """The route is disconnected."""
        if not route.up:
            return
        route.up = False
        to_accepter = route.under_way[route.accepter]
        messages = list(to_accepter)
        arrived = self._random.randint(0, len(messages))
        lost = self._random.randint(arrived, len(messages))
        route.unread.extend(messages[:arrived])
        to_accepter.clear()
        to_accepter.extend(messages[lost:])
        to_dialler = route.under_way[route.dialler]
        for _ in range(self._random.randint(0, len(to_dialler))):
            self._arrive(route.dialler, route, to_dialler.popleft())
        to_dialler.clear()
        if route.dialler.alive and route.dialler.route is route:
            route.dialler.link.route_up(self.clock.now)

    def restore(self, route: Route) -> None:
        """The dialler connects the route again."""
        if all(end.alive for end in self.ends):
            route.up = True

    def kill(self, end: End) -> None:
        """The process at the end dies. Of what it sent some is still read."""
        end.alive = False
        for route in self.routes:
            self.cut(route)
