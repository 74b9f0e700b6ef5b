"""For every test here and in the packages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine is no counterexample: what must be quick has a test of its own that says how quick.
settings.register_profile("enginehouse", deadline=None)
settings.load_profile("enginehouse")


@pytest.fixture(scope="session", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for data that is not the owner's, whose certificates would speak for what the tests load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ENGINEHOUSE_DATA", raising=False)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield
