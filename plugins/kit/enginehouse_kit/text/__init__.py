"""Texts on both sides of an engine: messages for a template, and calls, reasoning and stop strings in an answer."""
