from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from constellation.transport.arrivals import FAILED, NO_PEER, Arrivals, Stranger


def test_who_ends_without_a_handshake_is_a_stranger() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.9", 0)
    assert arrivals.ended(7, 1) == Stranger("10.0.0.9", NO_PEER)


def test_who_fails_in_it_is_one_too() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.9", 0)
    arrivals.failed()
    assert arrivals.ended(7, 1) == Stranger("10.0.0.9", FAILED)
    arrivals.accepted(7, "", 2)
    arrivals.failed("why")
    assert arrivals.ended(7, 3) == Stranger("", "why")


def test_who_was_told_of_elsewhere_is_not_told_of_again() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.9", 0)
    arrivals.failed("")
    assert arrivals.ended(7, 1) is None


def test_a_peer_that_ends_is_none() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.9", 0)
    arrivals.succeeded(0)
    assert arrivals.ended(7, 1) is None


def test_a_stranger_next_to_a_peer_that_is_in() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.2", 0)
    arrivals.succeeded(0)
    arrivals.accepted(8, "10.0.0.9", 1)
    assert arrivals.ended(8, 1) == Stranger("10.0.0.9", NO_PEER)
    assert arrivals.ended(7, 2) is None


def test_where_it_is_not_clear_nothing_is_told() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.2", 0)
    arrivals.accepted(8, "10.0.0.9", 0)
    arrivals.succeeded(0)  # whose?
    assert arrivals.ended(7, 1) is None
    arrivals.failed()
    assert arrivals.ended(8, 5) == Stranger("10.0.0.9", FAILED)


def test_it_is_clear_again_when_the_time_for_handshakes_is_over() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.2", 0)
    arrivals.accepted(8, "10.0.0.9", 2)
    arrivals.succeeded(2)
    arrivals.accepted(9, "10.0.0.9", 7)
    assert arrivals.ended(9, 7) == Stranger("10.0.0.9", NO_PEER)


def test_nor_is_a_peer_told_of_where_what_libzmq_tells_comes_late() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.9", 0)
    arrivals.accepted(8, "10.0.0.2", 4)
    arrivals.succeeded(4)  # the later one
    assert arrivals.ended(7, 6) is None
    assert arrivals.ended(8, 6) is None


def test_the_end_of_what_was_there_before() -> None:
    arrivals = Arrivals(5)
    assert arrivals.ended(7, 1) is None
    arrivals.succeeded(1)
    arrivals.accepted(7, "10.0.0.9", 2)
    assert arrivals.ended(7, 2) == Stranger("10.0.0.9", NO_PEER)


def test_a_connection_that_went_out_from_here_is_no_strangers() -> None:
    arrivals = Arrivals(5)
    arrivals.accepted(7, "10.0.0.9", 0)
    arrivals.failed()
    assert arrivals.ended(8, 1) is None
    assert arrivals.ended(7, 1) == Stranger("10.0.0.9", NO_PEER)


@dataclass
class Connection:
    fd: int
    opened: float
    state: str = "open"  # or "in"


actions = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "in", "fail", "leave", "wait", "stall"]),
        st.integers(0, 1 << 16),
    ),
    max_size=60,
)


@given(actions)
def test_no_peer_is_ever_told_of_and_every_failure_is(script: list[tuple[str, int]]) -> None:
    arrivals, now, peers = Arrivals(5), 0.0, 0
    connections: list[Connection] = []

    def end(connection: Connection) -> Stranger | None:
        connections.remove(connection)
        return arrivals.ended(connection.fd, now)

    for action, choice in script:
        young = [each for each in connections if each.state == "open"]
        if action == "open":
            fd = min(set(range(200)) - {each.fd for each in connections})
            connections.append(Connection(fd, now))
            arrivals.accepted(fd, f"address {fd}", now)
        elif action == "wait":
            now += choice % 7
            for each in young:  # libzmq ends who takes too long
                if now >= each.opened + 4.5:
                    arrivals.failed()
                    assert end(each) == Stranger(f"address {each.fd}", FAILED)
        elif action == "stall":
            now += 10  # and those who took too long are told of later
        elif action == "in" and young:
            young[choice % len(young)].state = "in"
            arrivals.succeeded(now)
            peers += 1
        elif action == "fail" and young:
            each = young[choice % len(young)]
            arrivals.failed()
            assert end(each) == Stranger(f"address {each.fd}", FAILED)
        elif action == "leave" and connections:
            each = connections[choice % len(connections)]
            stranger = end(each)
            if each.state == "in":
                assert stranger is None
            elif not peers and now < each.opened + 5:
                assert stranger == Stranger(f"address {each.fd}", NO_PEER)
