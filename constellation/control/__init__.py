"""How the parts of one program tell each other what to do.

Every conversation here runs over a Unix stream socket pair between two processes of one machine:
process and bridge, monitor and bridge, zygote and bridge. :mod:`~constellation.control.messages`
says what can be said in each, :mod:`~constellation.control.stream` carries it. No pickle is ever
read from them, and nothing in this package needs more than the values of the library.
"""

from __future__ import annotations
