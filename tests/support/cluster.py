"""A cluster on loopback, of the services as users start them: nodes, and a master that is one too.

Each cluster has addresses of its own, 127.x.y.1 and so on, so several may be there at once. What
belongs to its user (the key, the store) is in a directory of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import local_bridge
import programs

from constellation.address import Address
from constellation.control.cluster import AskStatus, Status
from constellation.process.directory import sweep as sweep_runtime
from constellation.security.key_file import ensure_key_file
from constellation.session.client import MasterError, ask
from constellation.transport.curve import Curve

LIMIT = 60.0
_clusters = 0


@dataclass(frozen=True)
class Size:
    """What a node gives."""

    mem: str
    cpu: float


SIZES = (Size("2 GiB", 2), Size("1 GiB", 1), Size("512 MiB", 0.5))


@dataclass
class Cluster:
    """A cluster that runs."""

    directory: Path
    sizes: tuple[Size, ...]
    prefix: str
    timeout: float
    separate: bool = False  # the master is no node
    bridge_of: int = 1  # the node that runs the bridge
    bridge_host: int = 1  # where that listens
    enforce: str = "pressure"
    modules: tuple[Path, ...] = ()  # where services find modules before anything else
    master_options: tuple[str, ...] = ()
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    # -- where things are

    def host(self, number: int) -> str:
        return f"{self.prefix}.{number}"

    def node(self, number: int) -> str:
        """The name of a node; 1 is the master's, unless that is separate."""
        return f"{self.host(number)}:9999"

    @property
    def master(self) -> str:
        return self.node(100 if self.separate else 1)

    @property
    def asked(self) -> str:
        """Where the master is asked."""
        return self.master

    @property
    def bridge(self) -> str:
        return f"{self.host(self.bridge_host)}:8888"

    @property
    def key_file(self) -> str:
        return str(self.directory / "cluster.key")

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    @property
    def caches(self) -> list[Path]:
        """Where its nodes keep what is in their user's cache."""
        return [self.directory / "cache"]

    @property
    def environment(self) -> dict[str, str]:
        return self.environment_at(1)

    def environment_at(self, _number: int) -> dict[str, str]:
        """The environment of what runs on a host."""
        path = os.pathsep.join(map(str, (*self.modules, programs.ROOT, programs.ROOT / "daemons")))
        return programs.environment(
            PYTHONPATH=path,
            XDG_CACHE_HOME=str(self.directory / "cache"),
            XDG_CONFIG_HOME=str(self.directory / "config"),
        )

    def at(self, _number: int, words: list[str]) -> list[str]:
        """What runs a command on a host."""
        return words

    @property
    def key_options(self) -> list[str]:
        """What tells commands of the key."""
        return ["--key-file", self.key_file]

    # -- services

    def _start(self, number: int, command: str, *arguments: str) -> None:
        name = self.node(number)
        words = ["-m", "constellation", command, "-v", *self.key_options, *arguments]
        with open(self.directory / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(
                self.at(number, [sys.executable, *words]),
                env=self.environment_at(number),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def listens(self, number: int) -> str:
        """Where the node of a host listens."""
        return self.node(number)

    def start_node(self, number: int, *arguments: str) -> None:
        self._start(number, "node", *arguments, self.listens(number))

    def table(self, number: int, size: Size) -> list[str]:
        """What nodes.toml says of a node."""
        lines = [f'fabric_addr = "{self.node(number)}"', f'mem = "{size.mem}"', f"cpu = {size.cpu}"]
        lines.append(f'enforce = "{self.enforce}"')
        return [*lines, f'bridge_bind = "{self.bridge}"'] if number == self.bridge_of else lines

    def start_master(self) -> None:
        config = self.directory / "nodes.toml"
        tables = [["[[nodes]]", *self.table(*each)] for each in enumerate(self.sizes, start=1)]
        config.write_text("\n".join(line for table in tables for line in table))
        options = ["--timeout", str(self.timeout), *self.master_options]
        number = 100 if self.separate else 1
        self._start(number, "master", *options, self.listens(number), str(config))

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """End a service. Gives its exit code."""
        process = self.running.pop(name)
        process.send_signal(number)
        return process.wait(LIMIT)

    def node_process(self, number: int) -> int:
        """The process id of a node, which a master has as a process of its own."""
        service = self.running[self.node(number)].pid
        if self.node(number) != self.master:
            return service
        (node,) = self.own_nodes()
        return node

    def own_nodes(self) -> list[int]:
        """The process ids of the nodes that masters of this cluster have started."""
        return [each for each in processes_of(self) if b"node.main" in command_line(each)]

    def bridge_process(self) -> int:
        """The process id of the bridge."""
        (bridge,) = parts_of(self.node_process(self.bridge_of), b"bridge.main")
        return bridge

    def agents(self, number: int) -> list[int]:
        """The process ids of the agents of a node."""
        return parts_of(self.node_process(number), b"agent.service")

    # -- what it says

    def status(self) -> Status:
        keypair = None if "--insecure" in self.key_options else ensure_key_file(self.key_file)
        endpoint = Address.parse(self.asked).endpoint
        security = None if keypair is None else Curve(keypair)
        found = ask(endpoint, security, AskStatus(), attempts=1, patience=1.0)
        assert isinstance(found, Status)
        return found

    def states(self) -> dict[str, str]:
        return {node.node: node.state for node in self.status().nodes}

    def wait_for(self, condition: Callable[[], object], limit: float = LIMIT) -> None:
        """Wait until the master answers and a condition holds."""
        end = time.monotonic() + limit
        while True:
            with contextlib.suppress(MasterError):
                if condition():
                    return
            assert time.monotonic() < end, "\n".join(map(self.log, self.running))
            time.sleep(0.05)

    def wait_until_joined(self, count: int | None = None) -> None:
        count = len(self.sizes) if count is None else count
        self.wait_for(lambda: list(self.states().values()).count("joined") == count)

    def wait_for_log(self, name: str, text: str) -> None:
        """Wait until a service has logged something."""
        end = time.monotonic() + LIMIT
        while text not in self.log(name):
            assert time.monotonic() < end, self.log(name)
            time.sleep(0.05)

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and all room is free."""
        status = self.status()
        used = any(node.processes or node.used_mem or node.used_cpu for node in status.nodes)
        return not used and not status.programs and not status.waiting

    def settle(self) -> None:
        """Wait until nothing of any program is left."""
        try:
            self.wait_for(lambda: self.idle and not self.leftovers(), 20.0)
        except AssertionError as error:
            raise AssertionError(f"{self.status()}\nleft: {self.leftovers()}\n{error}") from None

    def leftovers(self) -> list[str]:
        """What nodes that run nothing should not have."""
        found = []
        for cache in self.caches:
            for kind in ("programs", "store/pins", "store/incoming"):
                with contextlib.suppress(FileNotFoundError):
                    found += os.listdir(cache / "constellation" / kind)
        return found

    # -- programs

    client = 1
    """The host that programs are deployed from."""

    def command(self, *arguments: str | Path) -> list[str]:
        words = ["-m", "constellation", "deploy", self.bridge, *self.key_options]
        return self.at(self.client, [sys.executable, *words, *map(str, arguments)])

    def run(
        self,
        *arguments: str | Path,
        form: str = "json",
        stdin: bytes = b"",
        limit: float = LIMIT,
        **settings: str,
    ) -> programs.Finished:
        """Deploy a program, to its end."""
        done = subprocess.run(
            self.command(*arguments),
            env={**self.environment_at(self.client), "CONSTELLATION_FORMAT": form, **settings},
            input=stdin,
            capture_output=True,
            start_new_session=True,
            timeout=limit,
            check=False,
        )
        return programs.Finished(done.returncode, done.stdout, done.stderr)

    def popen(
        self, *arguments: str | Path, stdin: int = subprocess.PIPE, job: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a deployment.

        A job, as of a shell, has a process group and no session of its own: so it can be stopped.
        """
        own_group = [sys.executable, "-c", local_bridge.OWN_GROUP] if job else []
        return subprocess.Popen(
            [*own_group, *self.command(*arguments)],
            env={**self.environment_at(self.client), "CONSTELLATION_FORMAT": "json"},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=not job,
        )

    @contextmanager
    def start(
        self, *arguments: str | Path, stdin: bool = False, job: bool = False
    ) -> Iterator[programs.Running]:
        """Start a deployment, whose client is killed at the end if it still runs."""
        given = subprocess.PIPE if stdin else subprocess.DEVNULL
        process = self.popen(*arguments, stdin=given, job=job)
        with process:
            try:
                yield programs.Running(process)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def do(
        self, number: int, words: list[str], environ: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run Python on a host, to its end."""
        return subprocess.run(
            self.at(number, [sys.executable, *words]),
            env=environ,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def service(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a service that ends by itself."""
        words = ["-m", "constellation", command, *self.key_options, *arguments]
        return subprocess.run(
            self.at(1, [sys.executable, *words]),
            env=self.environment_at(1),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def tool(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `constellation COMMAND MASTER ARGUMENTS`."""
        words = ["-m", "constellation", command, *self.key_options, self.master, *arguments]
        return subprocess.run(
            self.at(self.client, [sys.executable, *words]),
            env=self.environment_at(self.client),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    @contextmanager
    def feed(self) -> Iterator[Feed]:
        """`constellation events`, from when it has subscribed on."""
        words = ["-m", "constellation", "events", *self.key_options, self.master]
        with subprocess.Popen(
            self.at(self.client, [sys.executable, *words, "--format", "json", "-v"]),
            env=self.environment_at(self.client),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                feed = Feed(process)
                feed.until(lambda: b"subscribed" in feed.err)
                yield feed
            finally:
                process.kill()

    def json(self, command: str, *arguments: str) -> Any:
        done = self.tool(command, *arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Feed:
    """A subscriber to the events of a cluster."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._running = programs.Running(process)

    @property
    def events(self) -> list[dict[str, Any]]:
        return self._running.events

    @property
    def err(self) -> bytes:
        return self._running.err

    def until(self, condition: Callable[[], object]) -> None:
        self._running.until(condition)


def command_line(pid: int) -> bytes:
    """What a process was started as; empty: it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def parts_of(pid: int, module: bytes) -> list[int]:
    """The children of a process that run a module."""
    return [child for child in programs.children_of(pid) if module in command_line(child)]


def processes_of(cluster: Cluster, *, besides: int = 0) -> list[int]:
    """The processes that run with the caches of a cluster: its services, and their parts."""
    marks = [f"XDG_CACHE_HOME={cache}".encode() for cache in cluster.caches]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if set(marks) & set((entry / "environ").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
    return [each for each in found if each != besides and programs.alive(each)]


def write(directory: Path, text: str, name: str = "program.py") -> Path:
    """Write a program to a directory of its own, since what is beside one is deployed with it."""
    path = directory / "program" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("from constellation import *\n" + textwrap.dedent(text))
    return path


def new_prefix() -> str:
    """What addresses begin with that no other cluster has."""
    global _clusters
    _clusters += 1
    # Runs side by side have process ids that follow one another, and make many clusters each.
    return f"127.{1 + os.getpid() % 250}.{_clusters % 250}"


@contextmanager
def cluster(
    directory: Path,
    *,
    sizes: tuple[Size, ...] = SIZES,
    timeout: float = 5.0,
    separate: bool = False,
    bridge_of: int = 1,
    bridge_host: int | None = None,
    enforce: str = "pressure",
    modules: tuple[Path, ...] = (),
    master_options: tuple[str, ...] = (),
) -> Iterator[Cluster]:
    """Start a cluster, and end it, which leaves nothing."""
    host = bridge_of if bridge_host is None else bridge_host
    made = Cluster(
        directory,
        sizes,
        new_prefix(),
        timeout,
        separate,
        bridge_of,
        host,
        enforce,
        modules,
        master_options,
    )
    with running(made):
        yield made


Made = TypeVar("Made", bound=Cluster)


@contextmanager
def running(made: Made) -> Iterator[Made]:
    """Start the services of a cluster, and end them, which leaves nothing."""
    ensure_key_file(made.key_file)
    try:
        for number in range(1 if made.separate else 2, len(made.sizes) + 1):
            made.start_node(number)
        made.start_master()
        made.wait_until_joined()
        made.wait_for(lambda: "has come, with Python" in made.log(made.master))
        yield made
        # All nodes at once; the master after them, so that it hears that they leave.
        nodes = [name for name in made.running if name != made.master]
        for name in nodes:
            made.running[name].send_signal(signal.SIGTERM)
        codes = {name: made.running.pop(name).wait(LIMIT) for name in nodes}
        if made.master in made.running:
            codes[made.master] = made.kill(made.master, signal.SIGTERM)
        for name, code in codes.items():
            assert code == 0, made.log(name)
            assert "Traceback" not in made.log(name), made.log(name)
    finally:
        for process in made.running.values():
            process.kill()
            process.wait()
        sweep_runtime(tempfile.gettempdir())
