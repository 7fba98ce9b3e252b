"""How services talk: one loop for each, and sessions over TCP that survive their connections."""
