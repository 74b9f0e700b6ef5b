"""Wheels and source archives of every distribution, and what they are tried with."""
