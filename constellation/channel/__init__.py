"""Channels: typed streams from one process to another."""
