"""Processes, channels between them, and a cluster to run them on.

The names below are the whole public interface. Whatever is not among them may change without
notice.
"""

from __future__ import annotations

# Takes the places of standard streams that are closed, before a library takes them.
from constellation.process import standard as _standard  # noqa: F401

# isort: split

# Makes names before other modules do.
from constellation.process import locality as _locality  # noqa: F401

# isort: split

from constellation.channel.receiver import Receiver
from constellation.channel.sender import Sender
from constellation.errors import (
    ChannelClosed,
    ChannelError,
    ChannelTypeError,
    ConstellationError,
    InitError,
    NoCapacity,
    ProcessExited,
    ProgramError,
    SerializationError,
    SettingsError,
    SpawnDeadlock,
    SpawnError,
    WouldBlock,
)
from constellation.exit_status import ExitStatus
from constellation.operation import join, select
from constellation.pid import Pid
from constellation.process.spawn import spawn, try_spawn
from constellation.resources import RESOURCES_DEFAULT, Resources
from constellation.runtime import init, pid, resources
from constellation.units import Cpu, Mem
from constellation.version import VERSION

__version__ = VERSION

__all__ = [
    # processes
    "init",
    "pid",
    "resources",
    "spawn",
    "try_spawn",
    # channels
    "Receiver",
    "Sender",
    "join",
    "select",
    # values
    "Cpu",
    "ExitStatus",
    "Mem",
    "Pid",
    "RESOURCES_DEFAULT",
    "Resources",
    # errors
    "ChannelClosed",
    "ChannelError",
    "ChannelTypeError",
    "ConstellationError",
    "InitError",
    "NoCapacity",
    "ProcessExited",
    "ProgramError",
    "SerializationError",
    "SettingsError",
    "SpawnDeadlock",
    "SpawnError",
    "WouldBlock",
    "__version__",
]
