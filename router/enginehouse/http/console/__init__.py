"""The console: a page that shows the house and what it does, its files, and the feed that keeps it up to date.

The page is built from `router/console`; what is built lies in `static/`, so that nobody needs Node who runs it. Its
files hold nothing that needs a key; all that it shows comes from routes that do.
"""

from __future__ import annotations

from .feed import Feed
from .pages import page_routes
from .proof import proof_routes, runs_of

__all__ = ["Feed", "page_routes", "proof_routes", "runs_of"]
