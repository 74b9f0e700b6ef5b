"""Dialects: families of wire formats, an endpoint for each of their operations."""
