"""The services of a constellation cluster: master, node and bridge."""
