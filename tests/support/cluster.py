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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    enforce: str = "pressure"
    modules: tuple[Path, ...] = ()  # where services find modules before anything else
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    # -- where things are

    def host(self, number: int) -> str:
        return f"{self.prefix}.{number}"

    def node(self, number: int) -> str:
        """The name of a node; 1 is the master's."""
        return f"{self.host(number)}:9999"

    @property
    def master(self) -> str:
        return self.node(1)

    @property
    def bridge(self) -> str:
        return f"{self.host(1)}:8888"

    @property
    def key_file(self) -> str:
        return str(self.directory / "cluster.key")

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(map(str, (*self.modules, programs.ROOT, programs.ROOT / "daemons")))
        return programs.environment(
            PYTHONPATH=path,
            XDG_CACHE_HOME=str(self.directory / "cache"),
            XDG_CONFIG_HOME=str(self.directory / "config"),
        )

    # -- services

    def _start(self, name: str, command: str, *arguments: str) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "constellation",
                    command,
                    "-v",
                    "--key-file",
                    self.key_file,
                    *arguments,
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_node(self, number: int, *arguments: str) -> None:
        self._start(self.node(number), "node", *arguments, self.node(number))

    def start_master(self) -> None:
        config = self.directory / "nodes.toml"
        lines = []
        for number, size in enumerate(self.sizes, start=1):
            lines += ["[[nodes]]", f'fabric_addr = "{self.node(number)}"']
            lines += [f'mem = "{size.mem}"', f"cpu = {size.cpu}"]
            lines.append(f'enforce = "{self.enforce}"')
            if number == 1:
                lines.append(f'bridge_bind = "{self.bridge}"')
        config.write_text("\n".join(lines))
        self._start(self.master, "master", "--timeout", str(self.timeout), self.master, str(config))

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """End a service. Gives its exit code."""
        process = self.running.pop(name)
        process.send_signal(number)
        return process.wait(LIMIT)

    def bridge_process(self) -> int:
        """The process id of the bridge."""
        master = self.running[self.master].pid
        (bridge,) = [
            child
            for child in programs.children_of(master)
            if b"bridge.main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        return bridge

    # -- what it says

    def status(self) -> Status:
        keypair = ensure_key_file(self.key_file)
        endpoint = Address.parse(self.master).endpoint
        found = ask(endpoint, Curve(keypair), AskStatus(), attempts=1, patience=1.0)
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

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and all room is free."""
        status = self.status()
        used = any(node.processes or node.used_mem or node.used_cpu for node in status.nodes)
        return not used and not status.programs and not status.waiting

    def settle(self) -> None:
        """Wait until nothing of any program is left."""
        self.wait_for(lambda: self.idle and not self.leftovers(), 20.0)

    def leftovers(self) -> list[str]:
        """What nodes that run nothing should not have."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            found += os.listdir(self.directory / "cache" / "constellation" / "programs")
        for kind in ("pins", "incoming"):
            with contextlib.suppress(FileNotFoundError):
                found += os.listdir(self.directory / "cache" / "constellation" / "store" / kind)
        return found

    # -- programs

    def command(self, *arguments: str | Path) -> list[str]:
        words = ["-m", "constellation", "deploy", self.bridge, "--key-file", self.key_file]
        return [sys.executable, *words, *map(str, arguments)]

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
            env={**self.environment, "CONSTELLATION_FORMAT": form, **settings},
            input=stdin,
            capture_output=True,
            start_new_session=True,
            timeout=limit,
            check=False,
        )
        return programs.Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *arguments: str | Path) -> Iterator[programs.Running]:
        """Start a deployment, whose client is killed at the end if it still runs."""
        process = subprocess.Popen(
            self.command(*arguments),
            env={**self.environment, "CONSTELLATION_FORMAT": "json"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                yield programs.Running(process)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def tool(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `constellation COMMAND MASTER ARGUMENTS`."""
        words = ["-m", "constellation", command, "--key-file", self.key_file]
        return subprocess.run(
            [sys.executable, *words, self.master, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def json(self, command: str, *arguments: str) -> Any:
        done = self.tool(command, *arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def cluster(
    directory: Path,
    *,
    sizes: tuple[Size, ...] = SIZES,
    timeout: float = 5.0,
    enforce: str = "pressure",
    modules: tuple[Path, ...] = (),
) -> Iterator[Cluster]:
    """Start a cluster, and end it, which leaves nothing."""
    global _clusters
    _clusters += 1
    own = os.getpid() * 7 + _clusters
    prefix = f"127.{1 + own // 250 % 250}.{1 + own % 250}"
    made = Cluster(directory, sizes, prefix, timeout, enforce, modules)
    ensure_key_file(made.key_file)
    try:
        for number in range(2, len(sizes) + 1):
            made.start_node(number)
        made.start_master()
        made.wait_until_joined()
        made.wait_for(lambda: "has come, with Python" in made.log(made.master))
        yield made
        for name in list(made.running):
            log = made.log(name)
            assert made.kill(name, signal.SIGTERM) == 0, log
            assert "Traceback" not in log, log
    finally:
        for process in made.running.values():
            process.kill()
            process.wait()
        sweep_runtime(os.environ["TMPDIR"])
