"""The bridge service: programs that clients deploy, each with a client, hosts and a tree."""
