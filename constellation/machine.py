"""Which variables of an environment belong to one machine, and say nothing on another."""

from __future__ import annotations

__all__ = ["machine_bound"]

_NAMES = frozenset(
    {
        "CONSTELLATION",
        "DISPLAY",
        "DBUS_SESSION_BUS_ADDRESS",
        "HOME",
        "HOSTNAME",
        "LOGNAME",
        "MAIL",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TTY",
        "USER",
        "VIRTUAL_ENV",
        "WAYLAND_DISPLAY",
        "WINDOWID",
        "XAUTHORITY",
        "_",
    }
)
_PREFIXES = (
    "CONDA_",
    "CONSTELLATION_",
    "DYLD_",
    "GPG_",
    "LD_",
    "PIP_",
    "PYENV_",
    "PYTHON",
    "SSH_",
    "SUDO_",
    "SYSTEMD_",
    "TMUX",
    "VIRTUAL_ENV_",
    "XDG_",
)


def machine_bound(name: str) -> bool:
    """Whether a variable belongs to one machine: where things are there, and who is logged in."""
    return name in _NAMES or name.startswith(_PREFIXES)
