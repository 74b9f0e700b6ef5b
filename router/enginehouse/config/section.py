"""What sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
# No character that moves a terminal's cursor or turns its text around; `\Z`, as `$` lets the end of a line pass.
_SEEN = r"^[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+\Z"
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_SEEN)]
PathName = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]+\Z")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: a key that is not known is an error."""
