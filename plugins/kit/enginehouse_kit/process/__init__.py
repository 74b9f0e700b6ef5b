"""Engines as supervised child processes that never outlive the router."""
