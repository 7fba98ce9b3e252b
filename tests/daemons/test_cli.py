"""How the services end that cannot start: with 2, after which systemd does not try again."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from constellation_daemons.cli import master, node

NODES = '[[nodes]]\nfabric_addr = "10.99.0.2:9999"\n'


@pytest.mark.parametrize("command", [node, master])
@pytest.mark.parametrize(
    ("key", "mode", "told"),
    [
        ("no key", 0, "there is no key of the cluster"),
        (None, 0, "there is none"),
        (b"", 0o644, "others may use it (mode 0644)"),
        (b"junk", 0o600, "it holds no key"),
    ],
)
def test_what_is_wrong_with_the_key(
    command: object, key: str | bytes | None, mode: int, told: str, tmp_path: Path
) -> None:
    words = ["10.99.0.1:9450"]
    if command is master:
        (tmp_path / "nodes.toml").write_text(NODES)
        words.append(str(tmp_path / "nodes.toml"))
    path = tmp_path / "a.key"
    if key != "no key":
        words += ["--key-file", str(path)]
    if isinstance(key, bytes):
        path.write_bytes(key)
        path.chmod(mode)
    runner = CliRunner(env={"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""})
    done = runner.invoke(command, words)  # type: ignore[arg-type]
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--join", "0.0.0.0:9999"], "0.0.0.0:9999 is where one can listen, and not connect to"),
        (["--join", "[::]:9999"], "[::]:9999 is where one can listen"),
        (["--join", "10.99.0.1:0"], "10.99.0.1:0 is where one can listen"),
        (["--advertise", "10.99.0.1:0"], "10.99.0.1:0 is where one can listen"),
    ],
)
def test_where_nobody_can_connect_to(words: list[str], told: str) -> None:
    done = CliRunner().invoke(node, ["127.0.0.1:9450", *words])
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:9450", "[::]:9450", "127.0.0.1:0"])
def test_a_node_that_joins_says_where_it_is_reached(address: str) -> None:
    done = CliRunner().invoke(node, [address, "--join", "127.0.0.1:9999"])
    assert done.exit_code == 2
    assert f"Others cannot connect to {address}, which is" in done.stderr


@pytest.mark.parametrize("words", [["--mem", "0"], ["--cpu", "0"], ["--cpu", "1e-12"]])
def test_a_node_gives_something(words: list[str]) -> None:
    done = CliRunner().invoke(node, ["127.0.0.1:9450", *words])
    assert done.exit_code == 2
    assert "Error: " in done.stderr


@pytest.mark.parametrize(("option", "value"), [("--mem", "1 TB"), ("--cpu", "lots")])
def test_an_amount_that_is_none_is_told_with_its_option(option: str, value: str) -> None:
    done = CliRunner().invoke(node, ["127.0.0.1:9450", option, value])
    assert done.exit_code == 2
    assert f"Invalid value for '{option}': '{value}' is not an amount of " in done.stderr


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("40000", "'40000' is no range of ports; one looks like \"40000-40999\""),
        ("2-1", "the last is not below the first"),
        ("9000-9500", "--port-range 9000-9500 has the node's own port 9450 in it"),
    ],
)
def test_a_range_of_ports_that_is_none(value: str, told: str) -> None:
    done = CliRunner().invoke(node, ["127.0.0.1:9450", "--port-range", value])
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize(
    ("value", "told"),
    [("0", "0 is not in the range 1<=x<=65535"), ("9450", "of the master itself")],
)
def test_a_port_for_events_that_is_none(value: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "nodes.toml").write_text(NODES)
    words = ["127.0.0.1:9450", str(tmp_path / "nodes.toml"), "--events-port", value]
    done = CliRunner().invoke(master, words)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize("service", [node, master])
def test_help_is_asked_for_by_a_letter_too(service: click.Command) -> None:
    told = CliRunner().invoke(service, ["-h"])
    assert (told.exit_code, told.output[:6]) == (0, "Usage:")


@pytest.mark.parametrize("bridge", [True, False])
def test_a_master_says_that_nothing_can_be_deployed(
    bridge: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nodes.toml").write_text(
        NODES + ('bridge_bind = "10.99.0.2:8888"\n' if bridge else "")
    )
    words = ["10.99.0.1:9450", str(tmp_path / "nodes.toml"), "--key-file", str(tmp_path / "none")]
    assert CliRunner().invoke(master, words).exit_code == 2  # but what is in the file is told of
    assert ("no node has a bridge_bind" in caplog.text) == (not bridge)


@pytest.mark.parametrize(
    ("others", "hidden"),
    [
        ("", False),
        ('[[nodes]]\nfabric_addr = "127.0.0.2:9999"\n', False),
        ('[[nodes]]\nfabric_addr = "10.99.0.3:9999"\n', True),
    ],
)
def test_a_master_says_that_others_do_not_reach_a_bridge(
    others: str, hidden: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f'{NODES}bridge_bind = "127.0.0.1:8888"\n{others}'
    (tmp_path / "nodes.toml").write_text(text)
    words = ["10.99.0.1:9450", str(tmp_path / "nodes.toml"), "--key-file", str(tmp_path / "none")]
    assert CliRunner().invoke(master, words).exit_code == 2  # but what is in the file is told of
    told = "the bridge_bind of the node 10.99.0.2:9999 is 127.0.0.1:8888, a loopback address"
    assert (told in caplog.text) == hidden
