"""Several routers as the hosts of one fleet."""
