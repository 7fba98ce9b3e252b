"""Who may talk to a cluster: its key, where that is kept, and when there may be none.

One CURVE keypair is the key of a whole cluster. The services present its public half and the
clients prove that they have the secret one, so whoever can read the file may talk to the cluster,
and nobody else. A program's own processes talk with a keypair that is made for the program.
"""
