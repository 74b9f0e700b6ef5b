from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def paths() -> Iterator[None]:
    """The modules are found in processes too, also where they are not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{EXAMPLES / 'hosting-plugin'}:{EXAMPLES / 'tutorial-plugin'}")
        yield
