"""The bridge: what one running program looks like, and what becomes of it."""
