from __future__ import annotations

from sides import directory, sides

__all__ = ["directory", "sides"]
