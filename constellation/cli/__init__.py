"""The command ``constellation``.

What a user does wrong is one line on stderr: exit code 2 for what was typed or configured, 1 for
what cannot be done. Tracebacks are for what is wrong with Constellation.
"""
