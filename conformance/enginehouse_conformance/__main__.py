"""`python -m enginehouse_conformance`."""

from __future__ import annotations

from .cli import main

main()
