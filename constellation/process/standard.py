"""The standard streams, which a shell can start a program without (``<&-``).

Whatever is opened next gets the free number, and is then read, written or closed as a standard
stream. So it is taken as soon as the package is imported: before the imports of others, since
libraries open files that they keep (libffi, which ctypes needs, its own).
"""

from __future__ import annotations

import os

__all__ = ["open_missing", "taken"]

_STREAMS = {0: "standard input", 1: "standard output", 2: "standard error"}


def open_missing() -> None:
    """See that descriptors 0 to 2 are open, so that nothing else can get one of these numbers."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def taken() -> str:
    """Which of them is something else, opened where there was none; empty if all is well."""
    for descriptor, name in _STREAMS.items():
        # What shells and `dup2` put there is for other programs too, other files of Python's and
        # of libraries are not.
        if not os.get_inheritable(descriptor):
            return f"{name} (descriptor {descriptor})"
    return ""


open_missing()
