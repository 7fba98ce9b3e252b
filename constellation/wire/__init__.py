"""The stream protocol, sans-I/O: bytes and events in, frames and events out.

No sockets, clocks or threads: time is an argument. `docs/protocol.md` is its text.
"""
