"""Processes: the program image, the zygote, the monitor, and what a fork runs."""
