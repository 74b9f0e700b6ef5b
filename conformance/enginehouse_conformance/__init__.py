"""The conformance suite of Enginehouse."""
