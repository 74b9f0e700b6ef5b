"""A cluster on Ray, in network namespaces of this machine."""
