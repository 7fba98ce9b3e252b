from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from constellation.machine import machine_bound
from constellation_daemons.environment import environment_here

names = st.sampled_from(["PATH", "HOME", "PYTHONPATH", "LANG", "MINE", "SECRET", "XDG_X"])


@given(own=st.dictionaries(names, st.text()), sent=st.dictionaries(names, st.text()))
def test_what_is_sent_wins_and_of_the_nodes_only_what_is_bound_to_it_stays(
    own: dict[str, str], sent: dict[str, str]
) -> None:
    encoded = {name.encode(): os.fsencode(value) for name, value in sent.items()}
    found = environment_here(own, encoded)
    assert {name: found[name] for name in sent} == sent
    for name in found.keys() - sent.keys():
        assert machine_bound(name)
        assert found[name] == own[name]
    assert {name for name in own if machine_bound(name)} <= found.keys()


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    found = environment_here({}, {b"A\xff": b"\xfe"})
    assert {os.fsencode(name): os.fsencode(value) for name, value in found.items()} == {
        b"A\xff": b"\xfe"
    }
