"""Which spawns are under way: the bridge's side of the spawn handshake, pure.

Processes are named by the numbers that the bridge gives them, since a child has no Pid while it
waits for room. A spawn is named by who asked and the number that the asker gave it. It is in one of
three states:

==========  ===============================  ==================================================
state       what is known                    who may end it, and how
==========  ===============================  ==================================================
asked       the child may exist              accepted: too early, an error of the spawner's;
                                             cancelled, or the spawner gone: the child is killed;
                                             the child gone: the spawner is refused
ready       the child holds its closure,     accepted: it has happened; cancelled, or the spawner
            the spawner has been told so     gone: the child is killed; the child gone: nothing,
                                             the spawner's word is awaited
(none)      it was accepted or abandoned     every further word about it changes nothing
==========  ===============================  ==================================================

A child that dies while ready has been promised to its spawner: if that accepts, the spawn has
happened and the process has exited.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Spawn:
    spawner: int
    request: int
    child: int
    ready: bool = False


class Spawns:
    """The spawns of one program that are under way."""

    def __init__(self) -> None:
        self._by_request: dict[tuple[int, int], _Spawn] = {}
        self._by_child: dict[int, _Spawn] = {}

    def __len__(self) -> int:
        return len(self._by_child)

    def begin(self, spawner: int, request: int, child: int) -> None:
        """A child is being made for this request, which must be new."""
        spawn = _Spawn(spawner, request, child)
        assert (spawner, request) not in self._by_request
        self._by_request[spawner, request] = spawn
        self._by_child[child] = spawn

    def find(self, spawner: int, request: int) -> int | None:
        """The child of a request that is under way."""
        spawn = self._by_request.get((spawner, request))
        return None if spawn is None else spawn.child

    def under_way(self, child: int) -> bool:
        """Whether this is a child that was neither accepted nor abandoned."""
        return child in self._by_child

    def ready(self, child: int) -> tuple[int, int] | None:
        """The child holds its closure. Gives who is to be told, and of which request."""
        spawn = self._by_child.get(child)
        if spawn is None or spawn.ready:
            return None
        spawn.ready = True
        return spawn.spawner, spawn.request

    def accept(self, spawner: int, request: int) -> int | None:
        """The spawn has happened. Gives the child that may run now."""
        spawn = self._by_request.get((spawner, request))
        if spawn is None or not spawn.ready:
            return None
        return self._drop(spawn)

    def cancel(self, spawner: int, request: int) -> int | None:
        """The spawner no longer wants it. Gives the child to be killed."""
        spawn = self._by_request.get((spawner, request))
        return None if spawn is None else self._drop(spawn)

    def spawner_gone(self, spawner: int) -> list[int]:
        """A process will say no more. Gives the children to be killed."""
        lost = [spawn for spawn in self._by_child.values() if spawn.spawner == spawner]
        return [self._drop(spawn) for spawn in lost]

    def child_gone(self, child: int) -> tuple[int, int] | None:
        """A child is dead or could not be made. Gives who is to be refused, and which request."""
        spawn = self._by_child.get(child)
        if spawn is None or spawn.ready:
            return None
        self._drop(spawn)
        return spawn.spawner, spawn.request

    def _drop(self, spawn: _Spawn) -> int:
        del self._by_request[spawn.spawner, spawn.request]
        del self._by_child[spawn.child]
        return spawn.child
