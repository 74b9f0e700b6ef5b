"""The sampling audit: whether tokens are drawn as the request's settings say, by the raw log probabilities beside them.

| module | what is there |
|---|---|
| `chances` | what each of the likeliest tokens, and the rest together, may have under a setting |
| `evidence` | sequential tests of what was asked against what may be done in its place |
"""

from __future__ import annotations
