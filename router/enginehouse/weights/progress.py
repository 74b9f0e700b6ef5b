"""How fetching tells what it does."""

from __future__ import annotations


class Progress:
    """Told what happens while weights are fetched; this one says nothing.

    A method may raise (for example to cancel): the fetch ends there and leaves nothing half done.
    Both methods may be called from any thread.
    """

    def note(self, text: str) -> None:
        """Something worth a line, such as the commit that a branch stands for."""

    def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        """*stage* ("downloading", "verifying", …) is at *done_bytes* of *total_bytes*, if that is known."""
