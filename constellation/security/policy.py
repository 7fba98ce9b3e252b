"""Which key a service or a command uses, and when there may be none."""

from __future__ import annotations

import logging
import os

from constellation.security.errors import NoClusterKey
from constellation.security.key_file import default_path, ensure_key_file, read_key_file
from constellation.security.keypair import Keypair

__all__ = ["INSECURE", "cluster_key"]

logger = logging.getLogger(__name__)

INSECURE = (
    "INSECURE: there is no encryption and no key (--insecure). Whoever can reach the cluster can "
    "run programs on it"
)
"""What is logged at each start without a key."""


def cluster_key(
    path: str | None, *, loopback_only: bool, insecure: bool = False, asking: bool = False
) -> Keypair | None:
    """The key of the cluster, or None where all is in the open because the user wants it so.

    The rules, in order:

    1. `insecure` gives None, and logs a warning that says what that means.
    2. A file that the user named is used, and is an error if it cannot be.
    3. The file at the default place is used, and is an error if it cannot be.
    4. Where everything is on loopback, the file at the default place is made, which is logged:
       unless a service is only asked, which has made it if it needs one.
    5. Otherwise there is no going on.

    Args:
        path: The file that the user named; None: none.
        loopback_only: Whether nothing but loopback addresses is listened at and connected to.
        insecure: The user wants no key.
        asking: A service is asked that must be there already.

    Raises:
        KeyFileError: The key file cannot be used.
        NoClusterKey: There is none, and none is made.
        ValueError: A file was named, and no key wanted.
    """
    if insecure:
        if path is not None:
            raise ValueError("a key file and no key (--key-file and --insecure) exclude each other")
        logger.warning(INSECURE)
        return None
    if path is not None:
        return read_key_file(path)
    path = default_path()
    if os.path.lexists(path):
        return read_key_file(path)
    if not loopback_only:
        raise NoClusterKey(path)
    if asking:
        raise NoClusterKey(path, asking)
    keypair = ensure_key_file(path)
    logger.warning("%s holds the new key, with the fingerprint %s", path, keypair.fingerprint)
    return keypair
