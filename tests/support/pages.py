"""The commands that pages show, followed on a cluster on loopback.

On the pages the machines are 10.0.0.1, 10.0.0.2 and so on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cluster as clusters
import programs
from cluster import LIMIT, Cluster

from constellation.address import Address
from constellation.process.directory import sweep as sweep_runtime
from constellation_daemons import config

_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVICES = {"constellation-node": "node", "constellation-master": "master"}
_OF_THE_SYSTEM = {"echo", "export", "python3", "scp", "ssh", "sudo"}
_SLEEPER = """
import time
from constellation import Resources, init

init(Resources(mem="300 MiB", cpu=0.1))
time.sleep(600)
"""


@dataclass(frozen=True)
class Command:
    """A command, and what it is said to print."""

    line: str
    shown: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)


def commands(text: str) -> list[Command]:
    """The commands of a page, in its order."""
    found = []
    for block in _CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *shown = part.splitlines()
            found.append(Command(line, tuple(each for each in shown if each)))
    return found


def masked(line: str) -> str:
    """A line without what is another one each time: names, sizes, times. A result stays."""
    if line.strip().isdigit():
        return line.strip()
    line = re.sub(r"/\S*cluster\.key", "KEY", line)
    line = re.sub(r"\b(?:[0-9a-f]{16}|[0-9a-f]{7})\b", "NAME", line)
    line = re.sub(r"\b\d+(?:\.\d+)*(?: [KMGT]?i?B\b)?", "#", line)
    return " ".join(line.split())


@dataclass
class Followed:
    """A cluster that is made by the commands of a page."""

    cluster: Cluster
    services: list[subprocess.Popen[bytes]] = field(default_factory=list)
    sleeper: subprocess.Popen[bytes] | None = None
    has_master: bool = False

    def follow(self, command: Command) -> None:
        """Do what a command says, and see that it does what is said of it."""
        words = command.words
        if words[0] in _SERVICES and "--check" not in words:
            self._serve(command)
        elif words[0] in _SERVICES:
            assert self._run(command) == 0, command
        elif words[0] == "constellation":
            assert self._run(command) in ({130} if words[1] == "events" else {0}), command
        else:
            # What is a matter of the system is not done here, and is nothing else by mistake.
            assert words[0] in _OF_THE_SYSTEM or words[0] == "/opt/constellation/bin/pip", command

    def _serve(self, command: Command) -> None:
        self.services.append(self._start(command.line))
        self.has_master |= command.words[0] == "constellation-master"
        if self.has_master:
            self.cluster.wait_until_joined(len(self.services))
            for node in config.load(self.cluster.directory / "nodes.toml").nodes:
                if node.bridge_bind is not None:
                    self.cluster.wait_for(partial(_listens, node.bridge_bind))

    def log(self) -> str:
        """What all that was started has said on standard error."""
        return (self.cluster.directory / "log").read_text()

    def _run(self, command: Command) -> int:
        line = command.line
        asked = command.words[1]
        if asked == "kill" or any(each.split()[0] == "program" for each in command.shown):
            name = self._sleep()
            line = line.replace(command.words[-1], name) if asked == "kill" else line
        process = self._start(line)
        if asked == "events":
            out = self._see_events(process)
        else:
            out = process.communicate(timeout=LIMIT)[0].decode()
        printed = {masked(each) for each in out.splitlines()}
        missing = [each for each in command.shown if masked(each) not in printed]
        assert not missing, f"{line}\n{out}"
        if asked == "kill":
            assert self.sleeper is not None
            with self.sleeper:
                assert self.sleeper.wait(LIMIT) == 137
            self.sleeper = None
        return process.returncode

    def _see_events(self, process: subprocess.Popen[bytes]) -> str:
        """Let something happen until it is told of."""
        assert process.stdout is not None
        out = b""
        while b"program.ended" not in out:
            # A subscriber has no part in what has happened before it was one.
            if b"program." not in out:
                self._start(self._deploy("examples/fibonacci.py", "3")).communicate(timeout=LIMIT)
            out += os.read(process.stdout.fileno(), 1 << 16)
        process.send_signal(signal.SIGINT)
        return (out + process.communicate(timeout=LIMIT)[0]).decode()

    def _sleep(self) -> str:
        """Have a program run. Gives the beginning of its name."""
        if self.sleeper is None:
            (self.cluster.directory / "sleeper").mkdir()
            (self.cluster.directory / "sleeper" / "program.py").write_text(_SLEEPER)
            self.sleeper = self._start(self._deploy("sleeper/program.py"))
        status = self.cluster.status
        self.cluster.wait_for(lambda: any(node.processes for node in status().nodes))
        (program,) = status().programs
        return program.program[:7]

    def _deploy(self, *words: str) -> str:
        return shlex.join(["constellation", "deploy", self.cluster.bridge, *words])

    def _start(self, line: str) -> subprocess.Popen[bytes]:
        line = line.replace("10.0.0.", self.cluster.prefix + ".")
        path = os.pathsep.join([str(self.cluster.directory / "bin"), os.environ["PATH"]])
        with open(self.cluster.directory / "log", "ab") as log:
            return subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.cluster.directory,
                env={**self.cluster.environment, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def end(self) -> None:
        """Stop the services in order."""
        for service in self.services:
            service.terminate()
        assert [service.wait(LIMIT) for service in self.services] == [0] * len(self.services)
        assert "Traceback" not in self.log(), self.log()


@contextmanager
def followed(directory: Path) -> Iterator[Followed]:
    """A place where the commands of a page can be followed. What they start is ended."""
    _install(directory / "bin")
    shutil.copytree(programs.ROOT / "examples", directory / "examples")
    made = Followed(Cluster(directory, (), clusters.new_prefix(), 5.0))
    nodes = (directory / "examples" / "nodes.toml").read_text()
    (directory / "nodes.toml").write_text(nodes.replace("10.0.0.", made.cluster.prefix + "."))
    # The key of the user is that of the cluster, as its other methods expect.
    Path(made.cluster.key_file).symlink_to(directory / "config" / "constellation" / "cluster.key")
    try:
        yield made
        made.end()
    finally:
        for process in [*made.services, *([made.sleeper] if made.sleeper else [])]:
            with process:
                process.kill()
        sweep_runtime(os.environ["TMPDIR"])


def _listens(address: Address) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((address.host, address.port)).close()
        return True
    return False


def _install(directory: Path) -> None:
    """Make the commands, for a `PATH`."""
    directory.mkdir()
    for name, words in {"constellation": "", **_SERVICES}.items():
        script = directory / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m constellation {words} "$@"\n')
        script.chmod(0o755)
