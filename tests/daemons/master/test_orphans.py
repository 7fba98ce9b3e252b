from __future__ import annotations

from constellation_daemons.master.orphans import Orphans


def test_a_bridge_has_some_time_to_come_back() -> None:
    orphans = Orphans(patience=10.0)
    assert not orphans
    orphans.add("p", 100.0)
    orphans.add("p", 105.0)
    assert orphans
    assert orphans.over((), 109.9) == []
    assert orphans.over({"p"}, 200.0) == []
    assert orphans.over({"q"}, 110.0) == ["p"]


def test_one_that_is_back_is_none() -> None:
    orphans = Orphans(patience=10.0)
    orphans.remove("p")
    orphans.add("p", 0.0)
    orphans.remove("p")
    assert not orphans
    assert orphans.over((), 100.0) == []
    orphans.add("p", 100.0)
    assert orphans.over((), 109.0) == []
