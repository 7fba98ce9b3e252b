"""How a fresh interpreter becomes a process of its program, or its image: the process's side.

A process that starts fresh, or is to be a program's image on a node of a cluster, runs the program
from its beginning, and nothing is different about it until it reaches `init()`. It has been told
two things: on its command line, in an option of the interpreter, its own process id, a descriptor
and a nonce; and through that descriptor, a socket whose other end its monitor holds
(`constellation.process.nursery`) or the node's agent, what it is. So no other process takes itself
for this one, whatever it inherits: neither what the program runs before `init()`, nor a fork of it.

It is found out when this module is imported, and from then on no program that is started has these
descriptors. They are taken into use at `init()`: :meth:`Unborn.join`.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from constellation.control.messages import (
    Birth,
    Born,
    Deploy,
    Needs,
    Survey,
    ToNewborn,
    ToProcess,
)
from constellation.control.stream import MessageStream
from constellation.errors import InitError
from constellation.pid import Pid
from constellation.process import command, descriptors
from constellation.process.command import Command
from constellation.process.deployed import Deployed, secured
from constellation.process.directory import RuntimeDirectory
from constellation.process.identity import Newborn
from constellation.resources import Resources
from constellation.transport.network import Network

NONCE_SIZE = 8
_CLOSED = (
    "the program has closed descriptors that this process was started with before it has called "
    "init()"
)

_to_newborn = msgspec.msgpack.Decoder(ToNewborn)
_to_process = msgspec.msgpack.Decoder(ToProcess)


@dataclass(frozen=True, slots=True, eq=False)
class Unborn:
    """An interpreter that was started to be a process of a program.

    Attributes:
        os_pid: Its process id.
        stream: The stream to its monitor.
        birth: What it will be; None, as the stream, if the program has closed that.
        files: What its descriptors are of, as device and inode.
    """

    os_pid: int
    stream: MessageStream[ToNewborn] | None = None
    birth: ToNewborn | None = None
    files: tuple[tuple[int, int], ...] = ()

    def join(self) -> Newborn:
        """Be a process of the program. All signals are blocked, and nothing is buffered.

        Standard output and error were files, kept for the case that the program does not come this
        far, and are the pipes that the monitor reads from now on.

        Raises:
            InitError: The program has closed the descriptors of this process.
        """
        birth, stream = self.birth, self.stream
        if not isinstance(birth, Birth) or stream is None or _files(stream, birth) != self.files:
            raise InitError(_CLOSED)
        for number, descriptor in enumerate((birth.stdin, birth.out, birth.err)):
            if descriptor is not None:
                os.dup2(descriptor, number)
                os.close(descriptor)
        # A monitor that is gone takes this process along.
        stream.send(Born())
        stream.close()
        return Newborn(
            Pid(birth.key, birth.endpoint),
            birth.initial,
            descriptors.adopt_socket(birth.listener),
            MessageStream(descriptors.adopt_socket(birth.control), _to_process),
            fresh=True,
            network=_network(birth),
        )

    @property
    def is_image(self) -> bool:
        """Whether it will be the program's image on a node."""
        return isinstance(self.birth, Deploy)

    @property
    def is_surveyed(self) -> bool:
        """Whether it is only asked what its initial process needs."""
        return isinstance(self.birth, Survey)

    def tell_needs(self, resources: Resources) -> None:
        """Say what the initial process needs."""
        if self.stream is not None:
            self.stream.send(Needs(int(resources.mem), float(resources.cpu)))

    @property
    def root(self) -> str | None:
        """Where the program is laid out on this node of a cluster; None: it runs natively."""
        site = self.birth.site if isinstance(self.birth, (Birth, Deploy)) else None
        return None if site is None else site.root

    def freeze(self) -> Deployed:
        """Be the program's image. All signals are blocked, and nothing is buffered.

        Raises:
            InitError: The program has closed the descriptors of this process.
        """
        told, stream = self._as_image()
        stream.send(Born())
        stream.close()
        return Deployed(
            descriptors.adopt_socket(told.connection),
            RuntimeDirectory.inherited(told.site.directory, told.lock),
            told.agent,
            told.site,
            secured(told.site),
        )

    def give_way(self, command: Command) -> NoReturn:
        """Be replaced by a bare zygote. All signals are blocked, and nothing is buffered.

        Args:
            command: What the program's processes execute.

        Raises:
            InitError: The program has closed the descriptors of this process.
            OSError: The zygote cannot be started.
        """
        from constellation.process import bare  # forked images go without

        told, stream = self._as_image()
        bare.become(told, stream.fileno(), command)

    def _as_image(self) -> tuple[Deploy, MessageStream[ToNewborn]]:
        told, stream = self.birth, self.stream
        if not isinstance(told, Deploy) or stream is None or _files(stream, told) != self.files:
            raise InitError(_CLOSED)
        return told, stream


def here() -> Unborn | None:
    """What this process is to be, if it was started fresh.

    Raises:
        InitError: This is a fork of such a process. A program that forks before `init()`, and goes
            on in the fork, would do so each time it is run, and never end.
    """
    if _UNBORN is not None and _UNBORN.os_pid != os.getpid():
        raise InitError(
            "processes cannot start fresh: each runs the program again up to init(), and this "
            "program has forked before that, and calls init() in the fork"
        )
    return _UNBORN


def label(descriptor: int, nonce: bytes) -> bytes:
    """What tells this process, after an `exec`, which it is."""
    return f"{command.OPTION}={os.getpid()}:{descriptor}:{nonce.hex()}".encode()


def _read() -> Unborn | None:
    text = sys._xoptions.get(command.OPTION)
    if not isinstance(text, str):
        return None
    try:
        os_pid, descriptor, digits = text.split(":")
        labelled, number, nonce = int(os_pid), int(descriptor), bytes.fromhex(digits)
    except ValueError:
        return None
    held = _holds(number, nonce)
    if labelled != os.getpid():
        # With the descriptor it is a fork; without, someone has copied the command line.
        return Unborn(labelled) if held else None
    if not held:
        # No command for that: one that does this each time would start itself for ever.
        return Unborn(labelled)
    stream, birth = _take(number)
    if isinstance(birth, Birth) and birth.seeded:
        command.forget_seed()
    return Unborn(labelled, stream, birth, _files(stream, birth))


def _holds(descriptor: int, nonce: bytes) -> bool:
    """Whether this is the descriptor that the message with the nonce waits at."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as look:
            return nonce in look.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False


def _take(descriptor: int) -> tuple[MessageStream[ToNewborn], ToNewborn]:
    """Take the message at this descriptor, and see that what is started inherits nothing."""
    os.set_inheritable(descriptor, False)
    stream = MessageStream(descriptors.adopt_socket(descriptor), _to_newborn)
    (birth,) = stream.receive()
    for each in _handed_on(birth):
        os.set_inheritable(each, False)
    return stream, birth


def _handed_on(birth: ToNewborn) -> list[int]:
    if isinstance(birth, Deploy):
        return [birth.connection, birth.lock]
    if isinstance(birth, Survey):
        return []
    each = (birth.listener, birth.control, birth.out, birth.err, birth.stdin, birth.near)
    return [descriptor for descriptor in each if descriptor is not None]


def _network(birth: Birth) -> Network | None:
    """How the process is reached where its program runs on several machines."""
    if birth.near is None or birth.site is None:
        return None
    listener = descriptors.adopt_socket(birth.near)
    return Network(birth.site.directory, listener, secured(birth.site))


def _files(stream: MessageStream[ToNewborn], birth: ToNewborn) -> tuple[tuple[int, int], ...]:
    """What the descriptors are of; a closed one is of nothing."""
    found = []
    for number in (stream.fileno(), *_handed_on(birth)):
        try:
            status = os.fstat(number)
            found.append((status.st_dev, status.st_ino))
        except OSError:
            found.append((0, 0))
    return tuple(found)


_UNBORN = _read()
