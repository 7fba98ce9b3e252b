"""The agent: runs one program's processes on one node, for the program's bridge.

A node starts an agent for each program that it is to run processes of. So one program's output
holds up no other's, and what becomes of an agent is its program's business alone.
"""
