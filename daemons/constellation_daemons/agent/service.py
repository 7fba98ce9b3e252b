"""The agent's process: what it waits for, and in which order things end.

==========  =====================================  =================================================
state       what it does                           how it goes on
==========  =====================================  =================================================
greeting    has said who it is                     `Begin`: fetching
fetching    takes the files that the node lacks    all are there: starting; they cannot be had:
                                                   ending, told as `ImageFailed`
starting    the program runs up to `init()`        it gets there: serving; it does not: as above
serving     makes processes, and relays            the end of the program, the bridge or the node
ending      everything is killed and removed       exit
==========  =====================================  =================================================

What the bridge asks for before there is an image waits for it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import NoReturn

import msgspec

from constellation.control.messages import (
    Adopt,
    Crippled,
    Died,
    FromHost,
    Gone,
    Made,
    Said,
    Started,
    Status,
    Told,
    TurnedAway,
    Unmade,
)
from constellation.control.messages import End as EndProcess
from constellation.control.stream import ControlError, MessageStream
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process import descriptors, signals, system
from constellation.process.directory import RuntimeDirectory, sweep
from constellation.process.host import Host
from constellation.process.launcher import Launcher
from constellation.process.ports import Ports
from constellation.process.signals import Wakeup
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop, Timer
from constellation.session.sessions import Session, Sessions
from constellation.settings import Format
from constellation.transport.curve import Curve
from constellation.transport.descriptors import explained
from constellation.transport.router import Router
from constellation_daemons import logs
from constellation_daemons.agent.enforcement import Enforcement
from constellation_daemons.agent.files import Files
from constellation_daemons.agent.image import Image
from constellation_daemons.agent.limits import Use, kernel_cause
from constellation_daemons.agent.messages import (
    Begin,
    Dead,
    Direct,
    End,
    FromAgent,
    FromNode,
    Heard,
    Hello,
    ImageFailed,
    ImageReady,
    Input,
    Kill,
    Killed,
    Launch,
    Over,
    Running,
    Setup,
    Taken,
    Tell,
    ToAgent,
    ToNode,
    Transfer,
    Unreached,
    Weigh,
    Weighed,
    encode,
    from_node,
    to_agent,
)
from constellation_daemons.agent.processors import Processors
from constellation_daemons.agent.relay import InputRelay
from constellation_daemons.agent.strangers import Strangers
from constellation_daemons.environment import environment_here
from constellation_daemons.inherited import first_messages
from constellation_daemons.program_name import program_name
from constellation_daemons.start import Failure, Program

logger = logging.getLogger("constellation_daemons.agent.service")  # it is run as `__main__`

_MONITORS_LIMIT = 2.5
_ZYGOTE_LIMIT = 3.5
"""Seconds that the monitors and the zygote have to leave, when all is to end."""
_ORPHANS_LIMIT = 1.0
"""Seconds to kill what is left then."""
_LAYOUT_LIMIT = 60.0
"""Seconds that laying out a program may go on, when nobody wants it any more."""
_GOODBYE_LIMIT = 2.0
"""Seconds that the bridge has to take what was told last."""
_CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Agent:
    """One program on one node.

    Args:
        setup: What it is for.
        node: The stream to the node.
        wakeup: Tells of signals.
        said: What the node has said after that.
    """

    def __init__(
        self,
        setup: Setup,
        node: MessageStream[FromNode],
        wakeup: Wakeup,
        said: Iterable[FromNode] = (),
    ) -> None:
        self._setup = setup
        self._node = node
        self._loop = Loop()
        self._wakeup = wakeup
        self._directory = RuntimeDirectory()
        self._image: Image | None = None
        self._zygote_reaped = True
        self._begin: Begin | None = None
        self._host: Host | None = None
        self._turn_timer: Timer | None = None  # while processes wait to be made
        self._waiting: deque[ToAgent] = deque()  # for the image
        self._ending = False
        self._killed: dict[int, str] = {}  # by the node, before they were made, and why
        self._pids: dict[int, Pid] = {}  # of the processes that are here
        self._input = InputRelay(self._loop.selector, self._input_taken)
        self._enforcement = Enforcement(
            self._loop, setup.node, strict=setup.strict, kill=self._end_greedy
        )
        self._processors = Processors(self._loop, setup.groups)
        self._strangers = Strangers(self._loop)
        key = os.urandom(16)
        security = None
        if setup.public is not None and setup.secret is not None:
            security = Curve(Keypair(setup.public, setup.secret))
        router = Router(key, "", None, security=security)
        self._sessions = Sessions(self._loop, router, key, self, timeout=setup.timeout)
        self._bridge = self._sessions.dial(setup.bridge)
        self._files = Files(
            self._loop, setup.store, setup.store_limit, setup.trees, self._send_transfer
        )
        selector = self._loop.selector
        selector.register(node, 1, self._node_ready)
        selector.register(self._wakeup.fileno(), 1, self._signalled)
        self._say(Hello(setup.program, setup.node, setup.incarnation, platform.python_version()))
        for message in said:
            self._hear_node(message)

    def run(self) -> None:
        """Serve to the end."""
        try:
            self._loop.run(lambda: self._ending)
        finally:
            # Whatever has happened, nothing of the program stays.
            self._ending = True
            self._end_processes()
        self._bridge.close()
        self._loop.run(lambda: not list(self._sessions), _GOODBYE_LIMIT)
        self._sessions.close()

    # -- the bridge

    def opened(self, session: Session) -> None:
        """Nobody connects to an agent."""

    def heard(self, session: Session, message: bytes) -> None:
        """The bridge has said something."""
        try:
            said = to_agent.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.error("the bridge has said what cannot be understood: %s", error)
            self._ending = True
        else:
            self._obey(said)

    def ended(self, session: Session, reason: str | None) -> None:
        """Without its bridge a program ends."""
        if reason is not None and session.silent(monotonic()) is None:
            # Nothing can be told to the bridge, nor so to the user: the node and the master can.
            self._tell_node(Unreached(reason))
        self._ending = True

    def _say(self, message: FromAgent) -> None:
        self._bridge.send(encode(message))

    def _send_transfer(self, data: bytes) -> None:
        self._say(Transfer(data))

    def _obey(self, message: ToAgent) -> None:
        match message:
            case Begin():
                self._start_once(message)
            case Transfer(data):
                self._files.hear(data)
            case Input(data):
                self._input.put(data)
            case End(over):
                if over:
                    self._tell_node(Over())
                self._ending = True
            case Launch() | Tell() | Direct() if self._host is None:
                self._waiting.append(message)
            case Launch(number, initial):
                assert self._host is not None
                self._host.launch(number, initial=initial)
                self._await_turn()
                if number in self._killed:
                    self._end_process(number, self._killed[number])
            case Tell(number, said):
                assert self._host is not None
                if isinstance(said, Adopt):
                    self._enforcement.given(number, said.mem)
                    self._processors.given(number, said.cpu)
                self._host.tell(number, said)
            case Direct(number, said):
                assert self._host is not None
                self._host.direct(number, said)

    # -- the image

    def _start_once(self, begin: Begin) -> None:
        if self._begin is None:
            self._begin = begin
            self._files.begin(begin.manifest, self._start, self._fail_to_start)

    def _start(self, directory: str) -> None:
        """The program is laid out."""
        begin = self._begin
        if begin is None or self._ending:
            return
        program = Program(
            directory,
            [os.fsdecode(each) for each in begin.arguments],
            environment_here(os.environ, begin.environ),
        )
        keys = None
        if begin.public is not None and begin.secret is not None:
            keys = begin.public, begin.secret
        try:
            self._image = Image(
                self._loop, program, keys, self._directory, self._serve, self._fail_image
            )
        except OSError as error:
            self._fail_to_start(f"the program cannot be started: {explained(error)}")

    def _serve(self, zygote: socket.socket, fresh: bool) -> None:
        """The image is there."""
        setup = self._setup
        self._zygote_reaped = False
        assert self._image is not None
        self._enforcement.image = self._image.os_pid
        ports = Ports(setup.host, setup.advertised, *setup.ports)
        self._host = Host(
            self._loop.selector,
            Launcher(zygote, self._directory.path, ports=ports),
            self._hear,
            stdin=self._input.reader,
            spares=not fresh,
        )
        self._say(ImageReady())
        while self._waiting:
            self._obey(self._waiting.popleft())

    def _fail_image(self, failure: Failure) -> None:
        self._say(ImageFailed(failure.reason, failure.out, failure.err, failure.code))
        self._ending = True

    def _fail_to_start(self, reason: str) -> None:
        self._fail_image(Failure(reason))

    # -- the processes

    def _await_turn(self) -> None:
        """See that what is to be made and has to wait is not forgotten."""
        assert self._host is not None
        deadline = self._host.deadline
        if deadline is not None and self._turn_timer is None:
            self._turn_timer = self._loop.at(deadline, self._take_turn)

    def _take_turn(self) -> None:
        self._turn_timer = None
        if self._host is not None:
            self._host.tick()
            self._await_turn()

    def _hear(self, message: FromHost) -> None:
        if isinstance(message, Told) and isinstance(message.message, Died):
            message = Told(message.number, self._explained(message.number, message.message))
        if isinstance(message, Said) and isinstance(message.message, TurnedAway):
            # For who runs this node, and not for the user of the program.
            pid = self._pids[message.number]
            self._strangers.told(pid, self._program, message.message)
            return
        self._say(Heard(message))
        match message:
            case Made(number, key, endpoint):
                self._pids[number] = Pid(key, endpoint)
            case Told(number, Started(os_pid)):
                self._tell_node(Running(number, os_pid, self._pids[number].key))
                self._enforcement.started(number, os_pid)
                self._processors.started(number, os_pid)
            case Told(number, Died(status, max_rss, cause)):
                ended = ExitStatus.from_wait(status, max_rss, cause)
                self._tell_node(Dead(number, Status.of(ended)))
            case Gone(number, reason):
                del self._pids[number]
                self._enforcement.gone(number)
                self._processors.gone(number)
                self._tell_node(Dead(number, Status(lost=reason)))
            case Unmade(number, text):
                self._tell_node(Dead(number, Status(lost=text)))
            case _:
                pass

    def _explained(self, number: int, died: Died) -> Died:
        """A death, with what the node knows of its cause."""
        if died.cause is not None or ExitStatus.from_wait(died.status).signal != "SIGKILL":
            return died
        kills = self._processors.killed_by_kernel(number)
        return msgspec.structs.replace(died, cause=kernel_cause(kills, self._setup.node))

    def _end_process(self, number: int, cause: str) -> None:
        if self._host is not None:
            self._host.direct(number, EndProcess(cause))

    def _end_greedy(self, number: int, cause: str) -> None:
        process = self._pids.get(number, number)
        logger.warning("process %s of %s: %s", process, self._program, cause)
        self._end_process(number, cause)

    @property
    def _program(self) -> str:
        """What the program is called."""
        return "a program" if self._begin is None else program_name(self._begin.arguments)

    def _input_taken(self, size: int, closed: bool) -> None:
        self._say(Taken(size, closed))

    # -- the node

    def _node_ready(self, events: int) -> None:
        try:
            self._node.flush()
            for message in self._node.receive():
                self._hear_node(message)
        except (EOFError, ConnectionError, ControlError):
            # A node that is gone takes its programs along.
            self._loop.selector.unregister(self._node)
            self._hear(Crippled(f"node {self._setup.node} was killed"))
            self._ending = True

    def _hear_node(self, message: FromNode) -> None:
        match message:
            case Kill(number, cause):
                self._killed[number] = cause
                self._say(Killed(number, cause))
                self._enforcement.condemn(number)
                self._end_process(number, cause)
            case Weigh(question):
                self._enforcement.weigh(functools.partial(self._weighed, question))
            case Setup():
                pass  # it was the first

    def _weighed(self, question: int, use: Use | None) -> None:
        if use is None:
            self._tell_node(Weighed(question, None))
        else:
            self._tell_node(Weighed(question, use.number, use.used, use.mem))

    def _tell_node(self, message: ToNode) -> None:
        with contextlib.suppress(ConnectionError):
            self._node.post(message)

    def _signalled(self, events: int) -> None:
        for number in self._wakeup.take():
            if number == signal.SIGCHLD:
                self._reap()
            else:
                self._hear(Crippled(f"node {self._setup.node} has ended it"))
                self._ending = True

    # -- the end

    def _end_processes(self) -> None:
        self._input.close()
        self._enforcement.close()
        host = self._host
        if host is not None:
            host.end()
            self._loop.run(lambda: host.empty, _MONITORS_LIMIT)
            host.close()
            self._reap()  # it may be dead since before it was known
            self._loop.run(lambda: self._zygote_reaped, _ZYGOTE_LIMIT)
        elif self._image is not None:
            self._image.cancel()
        self._loop.run(self._kill_the_rest, _ORPHANS_LIMIT)
        self._strangers.close()
        self._processors.close()
        self._directory.remove()
        self._directory.close()
        self._files.close()
        self._loop.run(lambda: not self._files.busy, _LAYOUT_LIMIT)
        sweep(os.path.dirname(self._directory.path))

    def _kill_the_rest(self) -> bool:
        """Kill what the zygote could not end any more. Whether nothing is left."""
        children = system.children()
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        self._reap()
        if children:
            self._loop.after(0.01, lambda: None)
        return not children

    def _reap(self) -> None:
        if self._host is None and not self._ending:
            return  # the image is reaped where it is started
        with contextlib.suppress(ChildProcessError):
            while (child := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if self._image is not None and child == self._image.os_pid:
                    self._zygote_reaped = True


def main(descriptor: int, form: Format) -> NoReturn:
    """Be an agent.

    Args:
        descriptor: Of the socket to the node, which says first what this is for.
        form: How it logs.
    """
    os.set_inheritable(descriptor, False)
    system.set_name("cst-agent")
    system.become_subreaper()
    system.raise_descriptor_limit()
    wakeup = Wakeup()
    for number in _CAUGHT:
        signal.signal(number, signals.caught)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signals.restore_mask(())  # see `start_part`
    node = MessageStream(descriptors.adopt_socket(descriptor), from_node)
    logs.set_up(logging.INFO, form)
    code = 1
    try:
        setup, *said = first_messages(node) or [None]
        if isinstance(setup, Setup):
            Agent(setup, node, wakeup, said).run()
            code = 0
    except Exception:  # whatever it is, its processes have been ended
        logger.exception("the agent has failed")
    os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), Format(sys.argv[2]))
