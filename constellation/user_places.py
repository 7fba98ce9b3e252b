"""Where things of this user are kept, as platformdirs says, which knows systems and XDG's rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import platformdirs

__all__ = ["cache_directory", "config_directory"]


def config_directory() -> str | None:
    """Where this user's configuration of Constellation is; None: the user has no home directory."""
    return _found(platformdirs.user_config_dir)


def cache_directory() -> str | None:
    """Where what can be made again is kept; None: the user has no home directory."""
    return _found(platformdirs.user_cache_dir)


def _found(find: Callable[..., Any]) -> str | None:
    """What platformdirs finds.

    A user whom the system does not know, as in containers, and for whom HOME is not set, has no
    home: some versions raise an error then, and others leave `~` as it is.
    """
    try:
        path = str(find("constellation", appauthor=False))
    except RuntimeError:
        return None
    return path if os.path.isabs(path) else None
