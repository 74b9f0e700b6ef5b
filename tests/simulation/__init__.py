"""A cluster too large for this machine, in simulated time."""
