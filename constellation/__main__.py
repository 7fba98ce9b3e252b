"""``python -m constellation`` is the command ``constellation``."""

from __future__ import annotations

from constellation.cli.main import main

if __name__ == "__main__":
    main()
