"""The node service: runs the processes of programs on its machine, as a master tells it."""
