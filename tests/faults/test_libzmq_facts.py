"""What libzmq really does, pinned: the transport is built on these facts and not on its manual.

Each test shows one fact that the library relies on or works around. When a new libzmq or pyzmq
changes one of them, the test that fails names the mechanism that has to be looked at again. Where a
fact is a chance (messages that get lost at a high-water mark), the test holds only to the side that
the library builds on.

Nothing here uses the library itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

PEER = Path(__file__).with_name("libzmq_peer.py")

#: Seconds until a test that waits for something gives up.
PATIENCE = 20.0


class Bench:
    """One context, its sockets, the other processes and a short directory, all ended by the
    fixture."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []
        self.peers: list[subprocess.Popen[str]] = []

    def ipc(self, name: str) -> str:
        return f"ipc://{self.directory / name}"

    def router(self, name: bytes, *, bind: str = "", **options: int) -> zmq.Socket[bytes]:
        """A ROUTER as the library's own: named, mandatory; options by their names in zmq."""
        made = self.context.socket(zmq.ROUTER)
        self.sockets.append(made)
        made.linger = 0
        made.setsockopt(zmq.ROUTING_ID, name)
        made.setsockopt(zmq.ROUTER_MANDATORY, 1)
        for option, value in options.items():
            made.setsockopt(getattr(zmq, option), value)
        if bind:
            made.bind(bind)
        return made

    def events(self, of: zmq.Socket[bytes]) -> Iterator[tuple[int, int]]:
        """What happens on a socket from now on: (event, its value)."""
        monitor = of.get_monitor_socket()
        self.sockets.insert(0, monitor)

        def told() -> tuple[int, int]:
            assert monitor.poll(PATIENCE * 1000), "no event"
            message = recv_monitor_message(monitor)
            return message["event"], message["value"]

        return iter(told, None)

    def start(self, what: str, *arguments: object, **popen: object) -> subprocess.Popen[str]:
        """A program of libzmq_peer.py, without waiting for it."""
        made: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, str(PEER), what, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,  # type: ignore[call-overload]
        )
        self.peers.append(made)
        return made

    def ready(self, what: str, *arguments: object, **popen: object) -> subprocess.Popen[str]:
        """A program of libzmq_peer.py that has said that it is set up."""
        made = self.start(what, *arguments, **popen)
        line = says(made)
        assert line == "ready", f"{line!r}, {made.communicate(timeout=PATIENCE)[1]}"
        return made

    def close(self) -> None:
        for peer in self.peers:
            with contextlib.suppress(ProcessLookupError):
                peer.kill()
            peer.wait()
            for stream in (peer.stdin, peer.stdout, peer.stderr):
                assert stream is not None
                stream.close()
        for made in self.sockets:
            made.close(linger=0)
        self.context.term()


@pytest.fixture
def bench() -> Iterator[Bench]:
    # Not tmp_path: the path of a Unix socket has only 108 bytes.
    with tempfile.TemporaryDirectory(prefix="zmq-") as directory:
        made = Bench(Path(directory))
        try:
            yield made
        finally:
            made.close()


def says(peer: subprocess.Popen[str]) -> str:
    """The next line that the peer prints."""
    assert peer.stdout is not None
    return peer.stdout.readline().strip()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.001)


def dial(here: zmq.Socket[bytes], route: bytes, endpoint: str) -> None:
    here.setsockopt(zmq.CONNECT_ROUTING_ID, route)
    here.connect(endpoint)


def receive(here: zmq.Socket[bytes]) -> list[bytes]:
    assert here.poll(PATIENCE * 1000), "nothing arrived"
    return here.recv_multipart()


def error_of(here: zmq.Socket[bytes], route: bytes) -> int:
    """The error number of a send on this route now, 0 when it is accepted."""
    try:
        here.send_multipart([route, b"are you there?"], zmq.DONTWAIT)
    except zmq.ZMQError as error:
        assert error.errno is not None
        return error.errno
    return 0


def greet(here: zmq.Socket[bytes], route: bytes) -> None:
    """One message there and back, so that the route is up beyond doubt."""
    here.send_multipart([route, b"hello"])
    assert receive(here) == [route, b"hello"]


# -- Two processes that connect to each other ----------------------------------------------------


def test_routes_named_by_the_other_ones_own_id_lose_messages(bench: Bench) -> None:
    peer = bench.start("clash", bench.ipc("a"), bench.ipc("b"), "together")
    out, err = peer.communicate(timeout=PATIENCE)
    assert peer.returncode == -signal.SIGABRT or int(out.split()[0]) < 200, err


def test_a_route_named_by_an_id_that_has_connected_already_aborts(bench: Bench) -> None:
    peer = bench.start("clash", bench.ipc("a"), bench.ipc("b"), "in turn")
    _, err = peer.communicate(timeout=PATIENCE)
    assert peer.returncode == -signal.SIGABRT
    assert "!has_out_pipe" in err


def test_a_name_used_for_two_routes_aborts(bench: Bench) -> None:
    peer = bench.start("duplicate", bench.ipc("nobody"))
    out, err = peer.communicate(timeout=PATIENCE)
    assert (peer.returncode, out) == (-signal.SIGABRT, "")
    assert "!has_out_pipe" in err


@pytest.mark.parametrize("order", ["together", "a first", "b first"])
def test_outbound_routes_with_names_of_their_own_work_in_every_order(
    bench: Bench, order: str
) -> None:
    a, b = bench.router(b"Ia", bind=bench.ipc("a")), bench.router(b"Ib", bind=bench.ipc("b"))
    ends = [(a, b"Oa0", bench.ipc("b"), b, b"Ia"), (b, b"Ob0", bench.ipc("a"), a, b"Ib")]
    if order == "b first":
        ends.reverse()
    for here, route, endpoint, there, inbound in ends:
        dial(here, route, endpoint)
        if order != "together":
            here.send_multipart([route, b"hello"])
            assert receive(there) == [inbound, b"hello"]
    for number in range(100):
        for here, route, *_ in ends:
            here.send_multipart([route, b"%d" % number])
    for _, _, _, there, inbound in ends:
        # Each message comes under the sender's own id, though it went by a route of another name.
        assert [receive(there) for _ in range(100)] == [
            [inbound, b"%d" % number] for number in range(100)
        ]
    # And both routes carry both ways.
    for here, route, _, there, inbound in ends:
        there.send_multipart([inbound, b"back"])
        assert receive(here) == [route, b"back"]


def test_a_route_takes_messages_from_the_moment_it_is_dialled(bench: Bench) -> None:
    here = bench.router(b"here")
    there = bench.router(b"there")
    dial(here, b"out", bench.ipc("there"))
    assert error_of(here, b"out") == 0
    there.bind(bench.ipc("there"))
    assert receive(there) == [b"here", b"are you there?"]


# -- Routes that are not there, full or gone -----------------------------------------------------


def test_a_mandatory_router_says_unroutable_and_full(bench: Bench) -> None:
    here = bench.router(b"here", SNDHWM=5)
    assert error_of(here, b"never heard of") == zmq.EHOSTUNREACH
    dial(here, b"out", bench.ipc("nobody"))
    errors = [error_of(here, b"out") for _ in range(6)]
    assert errors == [0, 0, 0, 0, 0, zmq.EAGAIN]


def test_a_dead_peer_on_a_route_we_dialled_takes_messages_while_libzmq_redials(
    bench: Bench,
) -> None:
    """So the library does not let libzmq redial: see the next tests."""
    here = bench.router(b"here", SNDHWM=50)
    peer = bench.ready("echo", bench.ipc("peer"), "-")
    dial(here, b"out", bench.ipc("peer"))
    greet(here, b"out")
    peer.kill()
    peer.wait()
    seen: list[int] = []

    def full() -> bool:
        seen.append(error_of(here, b"out"))
        return seen[-1] == zmq.EAGAIN

    until(full, "the route of a dead peer fills")
    assert set(seen) == {0, zmq.EAGAIN}


def test_reconnect_stop_ends_a_refused_route_over_tcp_only(bench: Bench) -> None:
    tcp, ipc = free_tcp(), bench.ipc("peer")
    here = bench.router(b"here", RECONNECT_STOP=zmq.RECONNECT_STOP_CONN_REFUSED)
    for number, endpoint in enumerate((ipc, tcp)):
        peer = bench.ready("echo", endpoint, "-")
        dial(here, b"out%d" % number, endpoint)
        greet(here, b"out%d" % number)
        peer.kill()
        peer.wait()
    until(lambda: error_of(here, b"out1") == zmq.EHOSTUNREACH, "refused over tcp")
    assert error_of(here, b"out0") in (0, zmq.EAGAIN)


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_without_redialling_a_dead_peer_on_a_route_we_dialled_is_unroutable(
    bench: Bench, transport: str
) -> None:
    here = bench.router(b"here", RECONNECT_IVL=-1)
    endpoint = bench.ipc("peer") if transport == "ipc" else free_tcp()
    peer = bench.ready("echo", endpoint, "-")
    dial(here, b"out", endpoint)
    greet(here, b"out")
    peer.kill()
    peer.wait()
    until(lambda: error_of(here, b"out") == zmq.EHOSTUNREACH, "the route is gone")
    # Another name to the same endpoint is another route.
    bench.ready("echo", endpoint, "-")
    dial(here, b"again", endpoint)
    greet(here, b"again")


def test_without_redialling_a_route_whose_first_dial_failed_says_nothing_ever(
    bench: Bench,
) -> None:
    """It takes messages like one that is slow, and no later bind makes it up; only disconnect ends
    it."""
    here = bench.router(b"here", RECONNECT_IVL=-1)
    events = bench.events(here)
    dial(here, b"out", bench.ipc("peer"))
    assert next(events)[0] == zmq.EVENT_CLOSED
    assert error_of(here, b"out") == 0
    there = bench.router(b"there", bind=bench.ipc("peer"))
    # Another route made after it, over the same endpoint, works, and the first one's message stays.
    dial(here, b"again", bench.ipc("peer"))
    here.send_multipart([b"again", b"second"])
    assert receive(there) == [b"here", b"second"]
    assert error_of(here, b"out") == 0
    assert not there.poll(100)
    here.disconnect(bench.ipc("peer"))
    until(lambda: error_of(here, b"again") == zmq.EHOSTUNREACH, "disconnect ends the route")


def test_a_dead_peer_on_a_route_it_dialled_is_unroutable(bench: Bench) -> None:
    here = bench.router(b"here", bind=bench.ipc("here"))
    peer = bench.ready("echo", bench.ipc("peer"), bench.ipc("here"))
    assert receive(here) == [b"peer", b"hi"]
    peer.kill()
    peer.wait()
    until(lambda: error_of(here, b"peer") == zmq.EHOSTUNREACH, "the route is gone")


def test_what_is_in_flight_when_a_peer_dies_still_arrives(bench: Bench) -> None:
    here = bench.router(b"here", bind=bench.ipc("here"), RCVHWM=0)
    peer = bench.ready("echo", bench.ipc("peer"), bench.ipc("here"))
    assert receive(here) == [b"peer", b"hi"]
    for number in range(10):
        here.send_multipart([b"peer", b"%d" % number])
    assert here.poll(PATIENCE * 1000)
    assert receive(here) == [b"peer", b"0"]
    # The last answer is in the kernel once the ninth was read after it was sent. Wait for it.
    answers = [receive(here)[1] for _ in range(8)]
    assert here.poll(PATIENCE * 1000)
    peer.kill()
    peer.wait()
    until(lambda: error_of(here, b"peer") == zmq.EHOSTUNREACH, "the route is gone")
    answers.append(receive(here)[1])
    assert answers == [b"%d" % number for number in range(1, 10)]


def test_a_stopped_peer_is_noticed_only_with_heartbeats(bench: Bench) -> None:
    beats = {"HEARTBEAT_IVL": 50, "HEARTBEAT_TIMEOUT": 200}
    accepting = bench.router(b"accepting", bind=bench.ipc("accepting"), **beats)
    dialling = bench.router(b"dialling", SNDHWM=0, **beats)
    once = bench.router(b"once", RECONNECT_IVL=-1, **beats)
    without = bench.router(b"without", SNDHWM=0)
    peer = bench.ready("echo", bench.ipc("peer"), bench.ipc("accepting"))
    assert receive(accepting) == [b"peer", b"hi"]
    for here in (dialling, once, without):
        dial(here, b"out", bench.ipc("peer"))
        greet(here, b"out")
    peer.send_signal(signal.SIGSTOP)
    until(lambda: error_of(accepting, b"peer") == zmq.EHOSTUNREACH, "the accepting side notices")
    until(lambda: error_of(once, b"out") == zmq.EHOSTUNREACH, "one that does not redial notices")
    # One that redials begins anew behind the same route, in silence.
    assert error_of(dialling, b"out") == 0
    assert error_of(without, b"out") == 0


@pytest.mark.parametrize("handover", [0, 1])
def test_handover_lets_a_second_connection_of_an_id_replace_the_first(
    bench: Bench, handover: int
) -> None:
    here = bench.router(b"here", bind=bench.ipc("here"), ROUTER_HANDOVER=handover)
    first, second = bench.router(b"same"), bench.router(b"same")
    dial(first, b"out", bench.ipc("here"))
    first.send_multipart([b"out", b"first"])
    assert receive(here) == [b"same", b"first"]
    dial(second, b"out", bench.ipc("here"))
    second.send_multipart([b"out", b"second"])
    if handover:
        assert receive(here) == [b"same", b"second"]
        here.send_multipart([b"same", b"answer"])
        assert receive(second) == [b"out", b"answer"]
        assert not first.poll(0)
    else:
        # The newcomer is ignored: a half-open route would keep its owner out.
        here.send_multipart([b"same", b"answer"])
        assert receive(first) == [b"out", b"answer"]
        assert not here.poll(100)


# -- Leaving ---------------------------------------------------------------------------------------


def test_leaving_the_interpreter_without_closing_loses_what_is_queued(bench: Bench) -> None:
    """Even with LINGER=-1: pyzmq does not terminate the context at exit."""
    here = bench.router(b"here", bind=bench.ipc("here"), RCVHWM=10)
    peer = bench.ready("leave", bench.ipc("here"), 200, 100_000, "exit")
    assert peer.wait(PATIENCE) == 0
    arrived = 0
    while here.poll(500):
        assert here.recv_multipart()[1] == b"%d" % arrived
        arrived += 1
    assert arrived < 200


def test_close_and_term_deliver_everything(bench: Bench) -> None:
    here = bench.router(b"here", bind=bench.ipc("here"), RCVHWM=0)
    peer = bench.ready("leave", bench.ipc("here"), 200, 100_000, "close")
    for number in range(200):
        assert receive(here)[1] == b"%d" % number
    assert peer.wait(PATIENCE) == 0


def test_without_a_receive_high_water_mark_an_orderly_close_over_ipc_loses_nothing(
    bench: Bench,
) -> None:
    """With one, 4 to 7 % of these never arrive (libzmq issue 4660)."""
    here = bench.router(b"here", bind=bench.ipc("here"), RCVHWM=0)
    peer = bench.ready("leave", bench.ipc("here"), 20_000, 10, "close")
    # The receiver is as slow as can be: it begins when the sender has gone.
    assert peer.wait(PATIENCE) == 0
    assert [int(receive(here)[1]) for _ in range(20_000)] == list(range(20_000))


def test_only_a_bounded_linger_ends_with_a_peer_out_of_reach(bench: Bench) -> None:
    bounded = bench.ready("linger", bench.ipc("nobody"), 50)
    unbounded = bench.ready("linger", bench.ipc("nobody"), -1)
    assert bounded.wait(PATIENCE) == 0
    with pytest.raises(subprocess.TimeoutExpired):
        unbounded.wait(0.5)


# -- Size and number -------------------------------------------------------------------------------


def test_a_huge_frame_holds_up_everything_behind_it(bench: Bench) -> None:
    here = bench.router(b"here", bind=bench.ipc("here"))
    there = bench.router(b"there")
    dial(there, b"out", bench.ipc("here"))
    there.send_multipart([b"out", b"up"])
    receive(here)
    there.send_multipart([b"out", bytes(64 << 20)])
    there.send_multipart([b"out", b"small"])
    assert [len(receive(here)[1]) for _ in range(2)] == [64 << 20, len(b"small")]


def crowd(bench: Bench, endpoint: str, descriptors: int) -> subprocess.Popen[str]:
    """A process that may have so many descriptors, when 100 peers have dialled it."""
    made = bench.ready("crowd", endpoint, descriptors)
    members = [bench.router(b"member %d" % number) for number in range(100)]
    for member in members:
        dial(member, b"out", endpoint)
        assert error_of(member, b"out") == 0
    return made


def test_over_ipc_peers_beyond_the_limit_of_descriptors_abort_the_process(bench: Bench) -> None:
    """So a process has as many as the system lets it, and the bridge, which needs two for each
    process of the program, comes to the end of its own first, where an error says so."""
    listening = crowd(bench, bench.ipc("crowd"), 64)
    assert listening.wait(PATIENCE) == -signal.SIGABRT
    assert listening.stderr is not None
    assert "Too many open files" in listening.stderr.read()


def test_over_tcp_peers_beyond_the_limit_of_descriptors_wait_without_an_error(
    bench: Bench,
) -> None:
    listening = crowd(bench, free_tcp(), 64)
    assert 0 < int(says(listening)) < 64
    assert listening.poll() is None


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_below_the_limit_of_descriptors_all_are_served(bench: Bench, transport: str) -> None:
    endpoint = bench.ipc("crowd") if transport == "ipc" else free_tcp()
    assert int(says(crowd(bench, endpoint, 256))) == 100


# -- Dialling and listening ------------------------------------------------------------------------


def test_dialling_before_the_bind_waits_for_the_next_try(bench: Bench) -> None:
    """The next try comes RECONNECT_IVL later (and up to as much again, by chance), not at the
    bind."""
    here = bench.router(b"here", RECONNECT_IVL=100)
    events = bench.events(here)
    dial(here, b"out", bench.ipc("late"))
    assert next(events)[0] == zmq.EVENT_CLOSED
    event, milliseconds = next(events)
    assert event == zmq.EVENT_CONNECT_RETRIED
    assert 100 <= milliseconds <= 200


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_listening_socket_made_before_a_fork_is_adopted(bench: Bench, transport: str) -> None:
    path = bench.directory / "adopted"
    if transport == "ipc":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        endpoint = f"ipc://{path}"
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.listen(100)
    # A peer may dial and send before the owner of the address even runs.
    here = bench.router(b"here", RECONNECT_IVL=-1)
    dial(here, b"out", endpoint)
    here.send_multipart([b"out", b"early"])
    peer = bench.ready("adopt", listener.fileno(), endpoint, pass_fds=[listener.fileno()])
    listener.close()
    assert receive(here) == [b"out", b"early"]
    peer.communicate(timeout=PATIENCE)
    assert peer.returncode == 0
    if transport == "ipc":
        # libzmq removes only the socket files that it made itself.
        assert path.exists()


def test_the_notices_of_the_draft_interface_are_not_there(bench: Bench) -> None:
    here = bench.router(b"here")
    for option, value in (
        (zmq.ROUTER_NOTIFY, 3),
        (zmq.HELLO_MSG, b"hello"),
        (zmq.DISCONNECT_MSG, b"bye"),
    ):
        with pytest.raises(zmq.ZMQError) as caught:
            here.setsockopt(option, value)
        assert caught.value.errno == zmq.EINVAL


# -- Waiting ---------------------------------------------------------------------------------------


def test_a_send_can_eat_the_edge_of_the_descriptor(bench: Bench) -> None:
    here = bench.router(b"here", bind=bench.ipc("here"))
    there = bench.router(b"there")
    dial(there, b"out", bench.ipc("here"))
    there.send_multipart([b"out", b"up"])
    receive(here)
    descriptor = here.getsockopt(zmq.FD)

    def edge(seconds: float) -> bool:
        return bool(select.select([descriptor], [], [], seconds)[0])

    def clear() -> None:
        """Take in what is pending, as EVENTS does, until the descriptor is quiet."""
        until(lambda: not here.getsockopt(zmq.EVENTS) & zmq.POLLIN and not edge(0), "quiet")

    clear()
    there.send_multipart([b"out", b"news"])
    assert edge(PATIENCE)

    def eaten() -> bool:
        # libzmq looks at its commands in a send only now and then, hence more than one.
        here.send_multipart([b"there", b"by the way"])
        return not edge(0)

    until(eaten, "a send clears the descriptor")
    # A message waits, and the descriptor will not say so: only EVENTS does.
    assert not edge(0.05)
    assert here.getsockopt(zmq.EVENTS) & zmq.POLLIN
    assert receive(here) == [b"there", b"news"]


# -- Security --------------------------------------------------------------------------------------


def free_tcp() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


FAILURES = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
}


def handshake(events: Iterator[tuple[int, int]]) -> int:
    """How the next handshake ends."""
    return next(event for event, _ in events if event in {*FAILURES, zmq.EVENT_HANDSHAKE_SUCCEEDED})


def curve_client(client: zmq.Socket[bytes], server: bytes) -> None:
    client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
    client.curve_serverkey = server


def curve_server(here: zmq.Socket[bytes], secret: bytes) -> str:
    here.setsockopt(zmq.CURVE_SERVER, 1)
    here.curve_secretkey = secret
    here.bind("tcp://127.0.0.1:*")
    return here.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()


def test_one_router_listens_plain_on_ipc_and_encrypted_on_tcp(bench: Bench) -> None:
    public, secret = zmq.curve_keypair()
    here = bench.router(b"here", bind=bench.ipc("here"))
    endpoint = curve_server(here, secret)
    plain, encrypted, stranger = (bench.router(name) for name in (b"plain", b"curve", b"null"))
    curve_client(encrypted, public)
    dial(plain, b"out", bench.ipc("here"))
    dial(encrypted, b"out", endpoint)
    for client, name in ((plain, b"plain"), (encrypted, b"curve")):
        client.send_multipart([b"out", b"hello"])
        assert receive(here) == [name, b"hello"]
    events = bench.events(stranger)
    dial(stranger, b"out", endpoint)
    assert handshake(events) in FAILURES


def test_security_is_chosen_for_each_bind_and_connect_by_the_options_just_before(
    bench: Bench,
) -> None:
    keys = {name: zmq.curve_keypair() for name in ("here", "there")}
    here = bench.router(b"here", bind=bench.ipc("here"))
    curve_server(here, keys["here"][1])
    plain = bench.router(b"plain", bind=bench.ipc("plain"))
    there = bench.router(b"there")
    endpoint = curve_server(there, keys["there"][1])
    # A plain route out of a socket that serves CURVE: CURVE_SERVER off before each.
    here.setsockopt(zmq.CURVE_SERVER, 0)
    dial(here, b"to plain", bench.ipc("plain"))
    here.send_multipart([b"to plain", b"hello"])
    assert receive(plain) == [b"here", b"hello"]
    curve_client(here, keys["there"][0])
    dial(here, b"to there", endpoint)
    here.send_multipart([b"to there", b"hello"])
    assert receive(there) == [b"here", b"hello"]


def test_without_a_handler_of_zap_any_client_key_is_let_in(bench: Bench) -> None:
    public, secret = zmq.curve_keypair()
    client, barred = bench.router(b"client"), bench.router(b"barred")
    for socket_ in (client, barred):
        curve_client(socket_, public)
    outcome = bench.events(client)
    dial(client, b"out", curve_server(bench.router(b"open"), secret))
    assert handshake(outcome) == zmq.EVENT_HANDSHAKE_SUCCEEDED
    # With one, it decides; it has to be there before the listener is.
    handler = bench.context.socket(zmq.REP)
    bench.sockets.append(handler)
    handler.bind("inproc://zeromq.zap.01")
    outcome = bench.events(barred)
    # The handler is asked though the listener names no ZAP domain.
    dial(barred, b"out", curve_server(bench.router(b"guarded"), secret))
    version, request, domain, _address, _identity, mechanism, _key = receive(handler)
    assert (domain, mechanism) == (b"", b"CURVE")
    handler.send_multipart([version, request, b"400", b"no", b"", b""])
    assert handshake(outcome) == zmq.EVENT_HANDSHAKE_FAILED_AUTH


# -- The whole process -----------------------------------------------------------------------------


def test_a_context_of_before_a_fork_is_not_the_childs() -> None:
    """pyzmq makes another context in the child; the library refuses to work there instead."""
    before = zmq.Context.instance()
    here = before.socket(zmq.ROUTER)
    child = os.fork()
    if child == 0:
        os._exit(0 if zmq.Context.instance() is not before else 1)
    status = os.waitpid(child, 0)[1]
    here.close(linger=0)
    before.destroy(linger=0)
    assert os.waitstatus_to_exitcode(status) == 0
