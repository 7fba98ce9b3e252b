"""The files of a program: what is shipped of them, how they are named, kept, sent and laid out.

A program's directory becomes a :mod:`~constellation.program.manifest` when it is packed: the names
and SHA-256 digests of what is shipped. Content travels and is kept by its digest, as a *blob*, so
nothing is sent to where it is already, under whatever name. The way of a program::

    pack        its directory  ->  a manifest, and where its blobs are
    store.pin   the manifest   ->  which blobs are missing; what is there stays there from now on
    transfer    what is missing, in chunks, to the store
    tree        manifest, store  ->  a directory with a fresh copy, in which the program runs

The network is not in here.
"""
