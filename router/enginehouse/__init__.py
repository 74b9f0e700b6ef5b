"""Enginehouse: one OpenAI-compatible chat API in front of every inference engine."""

from importlib.metadata import version

__version__ = version("enginehouse")
