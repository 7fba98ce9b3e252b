"""How the services end that cannot start: with 2, after which systemd does not try again."""

from __future__ import annotations

from pathlib import Path

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
