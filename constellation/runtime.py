"""`init()`: where a program becomes a supervised one, and which role this process has after it.

The process that calls `init()` becomes the bridge, its child the zygote. Every process of the
program, the initial one first, is a fork of the zygote by way of a monitor; the initial one returns
from `init()`, a spawned one runs what it was spawned for. Where processes start fresh, each is a
new interpreter that has run the program up to `init()`, and goes on from there in the same way.
This module wires the pieces, and holds the only global state of the library.
"""

from __future__ import annotations

import _thread
import atexit
import gc
import json
import os
import socket
import sys
import threading
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

from constellation.bridge import native
from constellation.channel import context
from constellation.channel.mailbox import Mailbox
from constellation.errors import InitError, SettingsError
from constellation.pid import Pid
from constellation.process import (
    adoption,
    birth,
    command,
    entry,
    leave,
    openmp,
    spawn,
    standard,
    system,
    zygote,
)
from constellation.process.deployed import load
from constellation.process.directory import RuntimeDirectory
from constellation.process.examiner import Examiner
from constellation.process.identity import Identity, Newborn
from constellation.process.image import Image
from constellation.process.origin import Origin
from constellation.process.writers import Writers
from constellation.resources import RESOURCES_DEFAULT, Resources
from constellation.settings import Settings, Start
from constellation.transport import leaving
from constellation.transport.descriptors import explained
from constellation.transport.transport import Transport
from constellation.uncaught import show_users_frames
from constellation.version import VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Runtime:
    """What a process of a program is made of.

    Attributes:
        identity: Who it is.
        image: What every process of the program has without being sent it.
        transport: Its connections to the others.
        linger: The most seconds that it waits, when it leaves, for what it sent to be received.
        writers: The file objects that existed at `init()`.
    """

    identity: Identity
    image: Image
    transport: Transport
    linger: float | None
    writers: Writers

    def leave(self) -> None:
        """See that everything this process sent is received, before it ends."""
        if self.identity.parent is not None:
            self.writers.leave()
        else:
            self.writers.flush()
            if _failed():
                self.transport.fail()
        try:
            lines = leaving.leave(self.transport, self.linger)
        except KeyboardInterrupt:
            text = "interrupted before everything that was sent had been received"
            print(f"constellation: {text}", file=sys.stderr)
            leave.die_of_interrupt()
        for line in lines:
            print(f"constellation: {line}", file=sys.stderr)


def _failed() -> bool:
    """Whether the interpreter, which leaves, has shown an exception that nobody caught."""
    trace: TracebackType | None = getattr(sys, "last_traceback", None)
    if trace is None or sys.flags.interactive or hasattr(sys, "ps1"):
        return False
    # What C code reports, and goes on, is shown in the same way, but does not begin there.
    return trace.tb_frame.f_globals.get("__name__") in ("__main__", "runpy")


_DESCRIPTORS_LEAST = 64
_START = "start a process"

_runtime: Runtime | None = None


def current() -> Runtime:
    """The runtime of this process.

    Raises:
        InitError: `init()` was not called yet.
    """
    if _runtime is None:
        show_users_frames()
        raise InitError("call constellation.init() first, early in main()")
    return _runtime


def pid() -> Pid:
    """The Pid of this process.

    Raises:
        InitError: `init()` was not called yet.
    """
    return current().identity.pid


def resources() -> Resources:
    """The resources that this process was given.

    Raises:
        InitError: `init()` was not called yet.
    """
    return current().identity.resources


def init(resources: Resources = RESOURCES_DEFAULT, *, linger: float | None = None) -> None:
    """Freeze the program image, and go on as the program's initial process.

    Call it once, early in `main()`, before threads, child processes or an event loop are started.
    Everything after it happens in a supervised process, whose output and end the command shows.

    Args:
        resources: What the initial process needs.
        linger: The most seconds that a process waits, when it leaves, for what it sent and was
            not yet received. None: until it is received or its reader is known to be gone.

    Raises:
        InitError: It was called before, or not early enough; the text says what is in the way.
    """
    show_users_frames()
    if _runtime is not None:
        raise InitError("init() was called before in this program; it is called once")
    if not isinstance(resources, Resources):
        raise TypeError(f"init() takes Resources(mem=..., cpu=...), not {resources!r}")
    if linger is not None and not isinstance(linger, (int, float)):
        raise TypeError(f"linger is a number of seconds or None, not {linger!r}")
    if linger is not None and not linger >= 0:
        raise ValueError(f"linger is a number of seconds or None, not {linger!r}")
    unborn = birth.here()
    if unborn is not None:
        if unborn.is_surveyed:
            unborn.tell_needs(resources)
            sys.exit(0)
        if unborn.is_image:
            _become_image(unborn, linger)
        else:
            _join(unborn, linger)
        return
    settings = _settings()
    if settings.version:
        print(f"constellation-lib {VERSION}")
        sys.exit(0)
    if settings.recce:
        print(json.dumps({"mem": int(resources.mem), "cpu": float(resources.cpu)}))
        sys.exit(0)
    standard.open_missing()
    _check(
        "init() makes this process the one that watches over the others"
        if settings.start is Start.FRESH
        else "init() forks"
    )
    _stop_watchdog()
    if settings.start is Start.FRESH:
        _start_fresh(settings, resources)
    openmp.prepare(stacklevel=2)
    _start_forked(settings, resources, linger)


def _start_forked(settings: Settings, resources: Resources, linger: float | None) -> None:
    """Fork into bridge and zygote. Returns in the initial process only."""
    image = Image.capture()
    writers = _flush()
    _raise_limit()
    gc.collect()
    ours, theirs = socket.socketpair()
    launcher = os.getpid()
    origin = Origin()  # before the directory, which a Ctrl-C would leave behind
    gc.freeze()
    directory = _directory(origin, ours, theirs)
    try:
        child = _fork()
    except OSError as error:
        directory.remove()
        directory.close()
        raise _failed_to(_START, error, origin, ours, theirs) from error
    if child:
        theirs.close()
        native.run(native.Program(ours, child, directory, settings, resources, origin))
    ours.close()
    newborn = zygote.run(theirs, directory, origin, launcher)
    _enter(newborn, image, origin, writers, linger)


def _start_fresh(settings: Settings, resources: Resources) -> NoReturn:
    """Become the bridge, without a fork: the initial process runs the program again."""
    from constellation.process import bare  # forked images go without

    again = command.again()
    _flush()
    _raise_limit()
    ours, theirs = socket.socketpair()
    origin = Origin()  # before the directory, which a Ctrl-C would leave behind
    directory = _directory(origin, ours, theirs)
    try:
        child = bare.start(theirs, directory, again)
    except OSError as error:
        directory.remove()
        directory.close()
        raise _failed_to(_START, error, origin, ours, theirs) from error
    leave.run_finalizers()
    native.run(native.Program(ours, child, directory, settings, resources, origin))


def _join(unborn: birth.Unborn, linger: float | None) -> None:
    """In a process that starts fresh, and has come to `init()`. Returns in the initial one only.

    What the program does before `init()` was checked in the command. Here there is no fork.
    """
    _stop_watchdog()
    system.raise_descriptor_limit()
    image = Image.capture(fresh=True, root=unborn.root)
    writers = _flush()
    origin = Origin()
    try:
        newborn = unborn.join()
    except InitError:
        origin.give_up()
        raise
    entry.prepare_fresh(entry.NATIVE if newborn.network is None else entry.FABRIC)
    _enter(newborn, image, origin, writers, linger)


def _become_image(unborn: birth.Unborn, linger: float | None) -> None:
    """Be the program's zygote on a node. Returns in the initial process only."""
    settings = _settings()
    standard.open_missing()
    _check("init() freezes this process, of which all others are forks")
    _stop_watchdog()
    if settings.start is Start.FRESH:
        _give_way(unborn)
    openmp.prepare(stacklevel=3)
    image = Image.capture(root=unborn.root)
    writers = _flush()
    _raise_limit()
    load()
    gc.collect()
    origin = Origin()
    gc.freeze()
    try:
        deployed = unborn.freeze()
    except InitError:
        gc.unfreeze()
        origin.give_up()
        raise
    newborn = zygote.run(
        deployed.connection, deployed.directory, origin, deployed.agent, deployed=deployed
    )
    _enter(newborn, image, origin, writers, linger)


def _give_way(unborn: birth.Unborn) -> NoReturn:
    """On a node, where processes start fresh: a bare zygote takes the place of the image."""
    again = command.again()
    _flush()
    _raise_limit()
    leave.run_finalizers()
    origin = Origin()
    try:
        unborn.give_way(again)
    except OSError as error:
        origin.give_up()
        raise InitError(f"init() cannot start a process: {explained(error)}") from error
    except InitError:
        origin.give_up()
        raise


def _raise_limit() -> None:
    """Have as many descriptors as there can be, and refuse where these are too few."""
    limit = system.raise_descriptor_limit()
    if limit < _DESCRIPTORS_LEAST:
        raise InitError(
            f"a process may have only {limit} open files here, and a program needs at least "
            f"{_DESCRIPTORS_LEAST}: `ulimit -n` raises it"
        )


def _directory(origin: Origin, *connection: socket.socket) -> RuntimeDirectory:
    """Make the runtime directory, while signals are blocked."""
    try:
        return RuntimeDirectory()
    except OSError as error:
        what = "make the directory of its sockets"
        raise _failed_to(what, error, origin, *connection) from error


def _failed_to(what: str, error: OSError, origin: Origin, *connection: socket.socket) -> InitError:
    """Undo what `init()` has done. Gives what it raises."""
    gc.unfreeze()
    origin.give_up()
    for end in connection:
        end.close()
    return InitError(f"init() cannot {what}: {explained(error)}")


def _node(newborn: Newborn) -> str | None:
    """The host that this process runs on, where that is one of several."""
    if newborn.network is None:
        return None
    return newborn.pid.endpoint.removeprefix("tcp://").rpartition(":")[0]


def _enter(
    newborn: Newborn, image: Image, origin: Origin, writers: Writers, linger: float | None
) -> None:
    """In a process of the user's. Returns in the initial one only."""
    global _runtime
    entry.adapt(newborn, origin)
    transport = Transport(
        newborn.pid, newborn.listener, newborn.control, inlet=Mailbox, network=newborn.network
    )
    context.install(context.Context(transport, image))
    transport.on_examine = Examiner(transport).asked
    identity = adoption.await_adoption(newborn)
    runtime = _runtime = Runtime(identity, image, transport, linger, writers)
    # Registered first, so it runs last: what the user registers may still use channels.
    atexit.register(runtime.leave)
    show_users_frames(_node(newborn))
    if identity.parent is not None:
        _work(runtime, identity.parent, origin)
    try:
        transport.start()
    except OSError as error:
        origin.resume()
        raise InitError(f"init() cannot start a thread: {explained(error)}") from None
    origin.resume()


def _work(runtime: Runtime, parent: Pid, origin: Origin) -> NoReturn:
    """In a spawned process: run what it was spawned for, and leave."""

    def receive_and_run() -> object:
        # In here, since a signal that came before is delivered now.
        origin.resume()
        return spawn.receive(context.current(), runtime.image, parent)()

    leave.run(receive_and_run, failing=runtime.transport.fail)


def _settings() -> Settings:
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    return settings


def _check(why: str) -> None:
    """Refuse where a program of several processes cannot begin.

    Args:
        why: What it is about `init()` that does not allow it.
    """
    others = [
        thread.name for thread in threading.enumerate() if thread is not threading.current_thread()
    ]
    # A thread that runs a function of C has no frame, one of another library no entry in the count.
    started = _thread._count() > (threading.current_thread() is not threading.main_thread())
    if others or started or len(sys._current_frames()) > 1:
        names = ", ".join(map(repr, others)) or "a thread unknown to the threading module"
        raise InitError(
            f"{why}, so no other Python thread may run, but {names} does: "
            "call init() before threads are started"
        )
    loops = sys.modules.get("asyncio")  # a loop runs only where somebody imported it
    if loops is not None and loops._get_running_loop() is not None:
        raise InitError(
            f"{why}, so it cannot be called inside a running event loop: "
            "call it before asyncio.run()"
        )
    children = system.users_children()
    if children:
        raise InitError(
            f"{why}, so there may be no child process, neither running nor unwaited for, "
            f"but there is {', '.join(map(str, children))}: "
            "call init() before child processes are started, or wait for them"
        )
    taken = standard.taken()
    if taken:
        raise InitError(
            f"init() needs the {taken}, but that was closed when the program started, and a file "
            "was opened in its place: import constellation first, or start the program with all "
            "standard streams open, if only on /dev/null"
        )


def _stop_watchdog() -> None:
    """End the thread of `faulthandler.dump_traceback_later`.

    It does not survive a fork, and a fork of the process would wait for it at its end.
    """
    faulthandler = sys.modules.get("faulthandler")
    if faulthandler is not None:
        faulthandler.cancel_dump_traceback_later()


def _flush() -> Writers:
    """Write out whatever is buffered, since each fork would have a copy of it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    writers = Writers()
    system.flush_c_streams()
    return writers


def _fork() -> int:
    with warnings.catch_warnings():
        # Threads of native libraries are fine; Python's own ones there are none.
        warnings.simplefilter("ignore", DeprecationWarning)
        return system.fork_program()
