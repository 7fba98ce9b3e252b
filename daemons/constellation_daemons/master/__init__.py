"""The master of a cluster: it places processes on nodes, and keeps the accounts of their room."""
