"""A cluster in small: a bridge, and an agent for each program on each of its nodes; no master.

Run as a script it is the bridge's process, which takes what it is to be from its command line, says
its port, and ends on SIGTERM. The rest is for tests: :func:`bridge` starts one, and sees at its end
that nothing of it is left.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import programs

from constellation.control.stream import MessageStream
from constellation.plain import PlainFormatter, log_with
from constellation.process.directory import sweep as sweep_runtime
from constellation.process.signals import Wakeup, caught
from constellation.program.store import Store
from constellation.program.tree import sweep as sweep_trees
from constellation.resources import Resources
from constellation.security.key_file import make_key_file, read_key_file
from constellation.session.loop import Loop
from constellation.settings import Format
from constellation.transport.curve import Curve
from constellation.transport.router import Router
from constellation_daemons.agent.messages import Kill, Running, Setup, to_node
from constellation_daemons.bridge.service import Bridge
from constellation_daemons.children import start_part

logger = logging.getLogger("local bridge")

HERE = Path(__file__)
LIMIT = 60.0
STORE_LIMIT = 1 << 30
OWN_GROUP = "import os, sys; os.setpgrp(); os.execvp(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class Options:
    """What a bridge is like.

    Attributes:
        directory: Where everything of it is.
        nodes: What its nodes are called; a program's processes are placed on them by turns.
        timeout: Seconds of silence after which a peer is lost.
        recce: Seconds that a program may take to reach `init()`.
        secured: Whether there is a key.
        version: The version of Python that the bridge says it has.
        refuses: The processes after so many are refused.
        kills: The process of each program that its node kills, a second after it has started.
    """

    directory: str
    nodes: list[str] = field(default_factory=lambda: ["local"])
    timeout: float = 5.0
    recce: float = 10.0
    secured: bool = True
    version: str | None = None
    refuses: int | None = None
    kills: int | None = None

    @property
    def trees(self) -> str:
        return os.path.join(self.directory, "trees")

    @property
    def key_file(self) -> str:
        return os.path.join(self.directory, "cluster.key")

    def store(self, name: str) -> str:
        return os.path.join(self.directory, f"store-{name}")


# -- the bridge's process -------------------------------------------------------------------------


class Nodes:
    """Places processes on nodes that are all this machine, and starts their agents."""

    def __init__(self, options: Options, loop: Loop, port: int) -> None:
        self.bridge: Bridge | None = None
        self.options = options
        self._loop = loop
        self._port = port
        self._agents: dict[tuple[bytes, str], Agent] = {}
        self.used: set[tuple[bytes, int]] = set()

    def begin(self, program: bytes, name: str) -> None: ...

    def ask(self, program: bytes, number: int, resources: Resources, *, wait: bool) -> None:
        assert self.bridge is not None
        deployment = self.bridge.deployments[program]
        if self.options.refuses is not None and number > self.options.refuses:
            text = f"no node has room for {resources}"
            self._loop.after(0, lambda: deployment.refused(number, "NoCapacity", text))
            return
        node = self.options.nodes[(number - 1) % len(self.options.nodes)]
        if (program, node) not in self._agents:
            self._agents[program, node] = Agent(self, self._loop, program, node)
        self.used.add((program, number))
        # As a master's answer, it comes later.
        self._loop.after(0, lambda: deployment.placed(number, node))

    def drop(self, program: bytes, number: int) -> None:
        self.used.discard((program, number))

    def finish(self, program: bytes) -> None:
        self.used = {each for each in self.used if each[0] != program}

    def setup(self, program: bytes, node: str) -> Setup:
        options = self.options
        keypair = read_key_file(options.key_file) if options.secured else None
        return Setup(
            program=program,
            bridge=f"tcp://127.0.0.1:{self._port}",
            node=node,
            incarnation=1,
            host="127.0.0.1",
            advertised="127.0.0.1",
            ports=(0, 0),
            trees=options.trees,
            store=options.store(node),
            store_limit=STORE_LIMIT,
            timeout=options.timeout,
            public=None if keypair is None else keypair.public,
            secret=None if keypair is None else keypair.secret,
        )

    def ended(self, program: bytes, node: str) -> None:
        """An agent is dead: the node tidies up, and tells the bridge, by way of the master."""
        del self._agents[program, node]
        tidy(self.options)

    @property
    def empty(self) -> bool:
        return not self._agents


class Agent:
    """An agent, as its node has it."""

    def __init__(self, nodes: Nodes, loop: Loop, program: bytes, node: str) -> None:
        self._nodes, self._loop, self._program, self._node = nodes, loop, program, node
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = start_part(
                "constellation_daemons.agent.service", theirs.fileno(), Format.HUMAN.value
            )
        self._stream = MessageStream(ours, to_node)
        loop.selector.register(self._stream, 1, self._ready)
        self._stream.send(nodes.setup(program, node))

    def _ready(self, events: int) -> None:
        try:
            for message in self._stream.receive():
                if isinstance(message, Running) and message.number == self._nodes.options.kills:
                    assert programs.alive(message.os_pid)
                    kill = Kill(message.number, "used 2 MiB of 1 MiB")
                    self._loop.after(1.0, functools.partial(self._stream.post, kill))
        except EOFError:
            self._loop.selector.unregister(self._stream)
            self._stream.close()
            code = self._process.wait()
            logger.info("the agent on %s has ended with %d", self._node, code)
            self._nodes.ended(self._program, self._node)


def tidy(options: Options) -> None:
    """Remove what killed agents have left, as a node does now and then."""
    for node in options.nodes:
        Store(options.store(node), STORE_LIMIT).sweep()
    sweep_trees(options.trees)
    sweep_runtime(tempfile.gettempdir())


def main(options: Options) -> None:
    log_with(PlainFormatter("%(levelname)s %(name)s: %(message)s"), sys.stderr, logging.INFO)
    if options.version is not None:
        version = options.version
        platform.python_version = lambda: version
    loop = Loop()
    wakeup = Wakeup()
    signal.signal(signal.SIGTERM, caught)
    ending: list[int] = []
    loop.selector.register(wakeup.fileno(), 1, lambda events: ending.extend(wakeup.take()))
    key = os.urandom(16)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    security = Curve(read_key_file(options.key_file)) if options.secured else None
    router = Router(key, f"tcp://127.0.0.1:{port}", listener, security=security)
    nodes = Nodes(options, loop, port)
    bridge = nodes.bridge = Bridge(
        loop,
        router,
        key,
        Store(options.store("bridge"), STORE_LIMIT),
        options.trees,
        nodes,
        secured=options.secured,
        timeout=options.timeout,
        recce=options.recce,
    )
    print(port, flush=True)
    loop.run(lambda: bool(ending))
    bridge.end("the bridge ends")
    loop.run(lambda: not bridge.deployments and nodes.empty, 20)
    bridge.close()
    loop.close()
    if nodes.used:
        raise AssertionError(f"room that was not given back: {nodes.used}")


# -- the tests' side ------------------------------------------------------------------------------


class Deployed(programs.Running):
    """A deploy command that runs."""

    def __init__(self, process: subprocess.Popen[bytes], bridge: LocalBridge) -> None:
        super().__init__(process)
        self.bridge = bridge

    @property
    def agent(self) -> int:
        """The only agent there is."""
        (agent,) = self.bridge.agents
        return agent

    @property
    def zygote(self) -> int:
        return programs.children_of(self.agent)[0]


class LocalBridge:
    """A bridge that runs."""

    def __init__(self, options: Options, process: subprocess.Popen[bytes], port: int) -> None:
        self.options = options
        self.process = process
        self.address = f"127.0.0.1:{port}"

    @property
    def directory(self) -> Path:
        return Path(self.options.directory)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def agents(self) -> list[int]:
        return [
            child
            for child in programs.children_of(self.process.pid)
            if b"agent.service" in _command_line(child)
        ]

    def command(self, *arguments: str | Path) -> list[str]:
        """The deploy command with these arguments, which follow the address."""
        security = ["--key-file", self.options.key_file] if self.options.secured else ["--insecure"]
        words = ["-m", "constellation", "deploy", self.address, *security, *map(str, arguments)]
        return [sys.executable, *words]

    def run(
        self,
        *arguments: str | Path,
        form: str = "json",
        stdin: bytes | int = subprocess.DEVNULL,
        limit: float = LIMIT,
        cwd: Path | None = None,
        **settings: str,
    ) -> programs.Finished:
        """Deploy a program, to its end."""
        given: Any = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run(
            self.command(*arguments),
            env=environment(CONSTELLATION_FORMAT=form, **settings),
            cwd=cwd,
            capture_output=True,
            start_new_session=True,
            timeout=limit,
            check=False,
            **given,
        )
        return programs.Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(
        self,
        *arguments: str | Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        job: bool = False,
        form: str = "json",
        **settings: str,
    ) -> Iterator[Deployed]:
        """Start a deployment, whose client is killed at the end if it still runs.

        A job, as of a shell, has a process group and no session of its own: so it can be stopped.
        """
        own_group = [sys.executable, "-c", OWN_GROUP] if job else []
        process = subprocess.Popen(
            [*own_group, *self.command(*arguments)],
            env=environment(CONSTELLATION_FORMAT=form, **settings),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=not job,
        )
        with process:
            try:
                yield Deployed(process, self)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    # -- what is left

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def leftovers(self) -> list[str]:
        """What a bridge that nobody uses should not have."""
        found = [f"process {pid}" for pid in programs.children_of(self.process.pid)]
        with contextlib.suppress(FileNotFoundError):
            found += [f"tree {name}" for name in os.listdir(self.options.trees)]
        for store in self.directory.glob("store-*"):
            for kind in ("pins", "incoming"):
                found += [f"{store.name}/{kind}/{name}" for name in os.listdir(store / kind)]
        return found

    def settle(self, descriptors: int | None = None, limit: float = 15.0) -> None:
        """Wait until nothing of any program is left; fail if something stays."""
        end = time.monotonic() + limit
        while True:
            found = self.leftovers()
            if descriptors is not None and self.descriptors() > descriptors:
                found.append(f"{self.descriptors()} descriptors, {descriptors} before")
            if not found:
                return
            assert time.monotonic() < end, (found, self.log)
            time.sleep(0.02)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environment(**settings: str) -> dict[str, str]:
    """The environment of commands and services."""
    path = os.pathsep.join(map(str, (programs.ROOT, programs.ROOT / "daemons", HERE.parent)))
    return programs.environment(PYTHONPATH=path, **settings)


@contextmanager
def bridge(directory: Path, **options: Any) -> Iterator[LocalBridge]:
    """Start a bridge, and end it, if it still runs."""
    chosen = Options(str(directory), **options)
    os.makedirs(chosen.trees)
    make_key_file(chosen.key_file)
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(
            [sys.executable, str(HERE), json.dumps(asdict(chosen))],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, (directory / "log").read_text()
            yield LocalBridge(chosen, process, int(line))
            if process.poll() is None:
                process.terminate()
                assert process.wait(30) == 0, (directory / "log").read_text()
            assert "Traceback" not in (directory / "log").read_text()
        finally:
            process.kill()


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
