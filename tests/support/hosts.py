"""Machines and the cables between them, as network namespaces, and clusters on them.

Each machine is a namespace with one end of a cable, whose other end is in the namespace of a
switch. So the network of the machine that runs the tests has no part in it. All names have the
process id of the run in them: two runs do not clash, and the next run removes what a killed one
has left.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from cluster import Cluster, Size

from constellation.control.cluster import Status

LIMIT = 30.0
SIZES = (Size("1 GiB", 1), Size("1 GiB", 1), Size("1 GiB", 1))
_PLACES = (Path("/run/netns"), Path("/etc/netns"))
_NAME = re.compile(r"cst-(\d+)-\w+")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_networks = 0


def ip(*words: str) -> str:
    """Run `ip`. Gives what it prints. A machine that cannot do that fails the test."""
    try:
        done = subprocess.run(
            ["ip", *words], capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except FileNotFoundError:
        pytest.fail("these tests need the command `ip`, which is in the package iproute2")
    if done.returncode != 0:
        pytest.fail(
            f"`ip {' '.join(words)}` has failed: {done.stderr.strip()}; these tests make network "
            "namespaces, which needs Linux and the rights of root (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
        )
    return done.stdout


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        name: Of its namespace.
        number: 1, 2, ...
        address: Its address.
        address6: Its address of IPv6.
        switch: The namespace that its cable leads to.
    """

    name: str
    number: int
    address: str
    address6: str
    switch: str

    def words(self, words: list[str]) -> list[str]:
        """What runs a command there."""
        return ["ip", "netns", "exec", self.name, *words]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread, and what it starts, be there."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(own)
        finally:
            os.close(own)
            os.close(there)

    # -- its cable

    def unplug(self) -> None:
        """Cut its cable, at the end that is not the machine's."""
        ip("-n", self.switch, "link", "set", f"port{self.number}", "down")

    def plug(self) -> None:
        """Mend it."""
        ip("-n", self.switch, "link", "set", f"port{self.number}", "up")

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        self.unplug()
        try:
            yield
        finally:
            self.plug()

    @contextmanager
    def dropping(self, ports: range, *, to: Host | None = None) -> Iterator[None]:
        """Have it answer nothing to those who connect to these ports, as behind a firewall.

        Args:
            ports: At which.
            to: Who gets no answer; None: nobody gets one.
        """
        rule = ["ipproto", "tcp", "sport", f"{ports[0]}-{ports[-1]}", "blackhole"]
        if to is not None:
            rule += ["to", to.address]
        ip("-n", self.name, "rule", "add", "priority", "1", *rule)
        try:
            yield
        finally:
            ip("-n", self.name, "rule", "del", "priority", "1", *rule)

    def transferred(self) -> int:
        """How many bytes have gone over its cable, in both directions."""
        (link,) = json.loads(ip("-n", self.name, "-j", "-s", "link", "show", "eth0"))
        stats = link["stats64"]
        return int(stats["rx"]["bytes"]) + int(stats["tx"]["bytes"])

    # -- what is there

    def listening(self) -> dict[int, str]:
        """The TCP ports at which something listens, and at which address."""
        lines = subprocess.run(
            self.words(["ss", "-tlnH"]), capture_output=True, text=True, check=True, timeout=LIMIT
        ).stdout.splitlines()
        found = [line.split()[3].rpartition(":") for line in lines]
        return {int(port): address for address, _, port in found}

    def processes(self) -> list[int]:
        """The process ids of all that runs there."""
        return list(map(int, ip("netns", "pids", self.name).split()))


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def network(count: int = 3, *, version: int | None = None) -> Iterator[list[Host]]:
    """Make machines, and remove them.

    Args:
        count: How many.
        version: The only version of IP that there is; None: both.
    """
    global _networks
    _networks += 1
    sweep()
    prefix = f"cst-{os.getpid()}-n{_networks}"
    switch = f"{prefix}switch"
    hosts = [
        Host(f"{prefix}host{n}", n, f"10.77.0.{n}", f"fd77::{n}", switch)
        for n in range(1, count + 1)
    ]
    try:
        _make(switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in hosts:
            _make(host.name)
            _connect(host, version)
        yield hosts
    finally:
        for name in [*(host.name for host in hosts), switch]:
            _remove(name)


def _make(name: str) -> None:
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def _connect(host: Host, version: int | None) -> None:
    port = f"port{host.number}"
    ip("link", "add", "eth0", "netns", host.name, "type", "veth", "peer", "name", port, "netns",
       host.switch)  # fmt: skip
    ip("-n", host.switch, "link", "set", port, "master", "bridge")
    ip("-n", host.switch, "link", "set", port, "up")
    ip("-n", host.name, "link", "set", "eth0", "up")
    if version != 6:
        ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
    if version != 4:
        # Usable at once, and not after it was seen that nobody else has it.
        ip("-n", host.name, "addr", "add", f"{host.address6}/64", "dev", "eth0", "nodad")


def name_hosts(hosts: list[Host], lines: list[str]) -> None:
    """Say what host names stand for on all machines."""
    for host in hosts:
        directory = _PLACES[1] / host.name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts").write_text("127.0.0.1 localhost\n" + "\n".join(lines) + "\n")


def sweep() -> None:
    """Remove what runs that were killed have left."""
    for place in _PLACES:
        with contextlib.suppress(FileNotFoundError):
            for path in place.iterdir():
                match = _NAME.fullmatch(path.name)
                if match is not None and not _runs(int(match[1]), path):
                    _remove(path.name)


def _runs(pid: int, made: Path) -> bool:
    """Whether the process that made this is still there."""
    try:
        return pid == os.getpid() or psutil.Process(pid).create_time() <= made.stat().st_mtime
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def _remove(name: str) -> None:
    if (_PLACES[0] / name).exists():
        for pid in map(int, ip("netns", "pids", name).split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ip("netns", "del", name)
    shutil.rmtree(_PLACES[1] / name, ignore_errors=True)


@dataclass
class HostCluster(Cluster):
    """A cluster on machines: the master is on the first.

    Attributes:
        hosts: The machines.
        extra: More lines of nodes.toml, by number.
        bridge_at: The machine with the bridge.
        client: The one that programs are deployed from.
        reached: What others call a machine.
        bound: Where nodes listen, where that is not what they are called.
        insecure: Whether there is no key.
        port: That nodes listen at.
    """

    hosts: list[Host] = field(default_factory=list)
    extra: dict[int, list[str]] = field(default_factory=dict)
    bridge_at: int = 1
    client: int = 1
    reached: str = "address"
    bound: str | None = None
    insecure: bool = False
    port: int = 9999

    def host(self, number: int) -> str:
        if self.reached == "name":
            return f"host{number}"
        host = self.hosts[number - 1]
        return f"[{host.address6}]" if self.reached == "address6" else host.address

    def node(self, number: int) -> str:
        return f"{self.host(number)}:{self.port}"

    @property
    def asked(self) -> str:
        # The tests' own process does not know what the machines are called.
        host = self.hosts[0]
        return f"{host.address}:{self.port}" if self.reached == "name" else self.master

    @property
    def bridge(self) -> str:
        return f"{self.host(self.bridge_at)}:{self.port - 1}"

    @property
    def key_options(self) -> list[str]:
        return ["--insecure"] if self.insecure else super().key_options

    @property
    def caches(self) -> list[Path]:
        return [self.directory / f"cache{host.number}" for host in self.hosts]

    def environment_at(self, number: int) -> dict[str, str]:
        cache = str(self.directory / f"cache{number}")
        return {**super().environment_at(number), "XDG_CACHE_HOME": cache}

    def at(self, number: int, words: list[str]) -> list[str]:
        return self.hosts[number - 1].words(words)

    def listens(self, number: int) -> str:
        return self.node(number) if self.bound is None else f"{self.bound}:{self.port}"

    def table(self, number: int, size: Size) -> list[str]:
        lines = [f'fabric_addr = "{self.listens(number)}"', f'mem = "{size.mem}"']
        lines += [f"cpu = {size.cpu}", *self.extra.get(number, [])]
        if self.bound is not None:
            lines.append(f'advertise = "{self.node(number)}"')
        if number == self.bridge_at:
            bridge = self.bridge if self.bound is None else f"{self.bound}:{self.port - 1}"
            lines.append(f'bridge_bind = "{bridge}"')
        return lines

    def status(self) -> Status:
        with self.hosts[self.client - 1].inside():
            return super().status()
