"""Whether two endpoints serve the same model the same way: single tokens with their log probabilities, compared.

| module | what is there |
|---|---|
| `prompts` | prompts made from a seed |
| `measure` | distance, interval, slope, parting: pure functions of figures |
| `bands` | what a distance means, in words |
| `taking` | asking for single tokens; fingerprints, which are files |
| `asking` | the same of a URL |
| `comparison` | two sides compared, and what explains the difference |
| `words`, `page` | a comparison as text, and as a page with a plot |
"""

from __future__ import annotations
