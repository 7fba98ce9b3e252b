from __future__ import annotations

import pytest

from constellation.address import Address
from constellation_daemons.master.place import NoPlace, own_hosts, own_node, reached_at
from constellation_daemons.node_config import Node

EVERYWHERE = Address("0.0.0.0", 9999)
ONE, TWO = Address("10.0.0.1", 9999), Address("10.0.0.2", 9999)
BOTH = [Node(EVERYWHERE, advertise=ONE), Node(EVERYWHERE, advertise=TWO)]


def test_the_node_that_listens_there() -> None:
    nodes = [Node(ONE), Node(TWO)]
    assert own_node(TWO, nodes) is nodes[1]
    assert own_node(Address("10.0.0.3", 9999), nodes) is None


def test_of_several_the_one_that_is_reached_here() -> None:
    assert own_node(EVERYWHERE, BOTH, hosts=lambda: {"127.0.0.1", "10.0.0.2"}) is BOTH[1]
    assert own_node(EVERYWHERE, BOTH, advertise=ONE) is BOTH[0]
    assert own_node(EVERYWHERE, BOTH, advertise=Address("10.0.0.3", 9999)) is None
    names = [
        Node(EVERYWHERE, advertise=Address(name, 9999)) for name in ("nowhere.invalid", "localhost")
    ]
    assert own_node(EVERYWHERE, names, hosts=own_hosts) is names[1]


def test_which_it_is_may_be_unknown() -> None:
    for hosts in ({"10.0.0.9"}, {"10.0.0.1", "10.0.0.2"}):
        with pytest.raises(NoPlace, match=r"several nodes listen at 0\.0\.0\.0:9999.*--advertise"):
            own_node(EVERYWHERE, BOTH, hosts=lambda hosts=hosts: hosts)


def test_where_it_is_reached() -> None:
    assert reached_at(ONE, None) == ONE
    assert reached_at(EVERYWHERE, BOTH[1]) == TWO
    assert reached_at(EVERYWHERE, BOTH[1], ONE) == ONE
    with pytest.raises(NoPlace, match=r"nodes cannot connect to 0\.0\.0\.0:9999.*--advertise"):
        reached_at(EVERYWHERE, None)
    with pytest.raises(NoPlace, match=r"nodes cannot connect to 10\.0\.0\.1:0.*any free port"):
        reached_at(ONE.with_port(0), None)


def test_this_machine_has_addresses() -> None:
    assert "127.0.0.1" in own_hosts()
