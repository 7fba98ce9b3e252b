"""The one ROUTER of a process, its routes, and who waits for it."""
