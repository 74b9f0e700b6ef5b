"""Engines in Python: any `Backend`, hosted in a process and interpreter of its own."""
