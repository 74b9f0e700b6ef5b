"""The rules and the profiles, as data.

`RULES` maps an id to its `Rule` in the order of the documents; `PROFILES` maps a name to its `ProfileData`.
"""

from __future__ import annotations

from importlib.resources import files

import msgspec

from .model import Level, ProfileData, Rule, Scope, SectionFile

__all__ = ["AUDITS", "PROFILES", "RULES", "SECTIONS", "Level", "ProfileData", "Rule", "Scope"]

_ORDER = (
    "ENV", "MSG", "LEN", "END", "SMP", "BIAS", "STOP", "SSE", "N", "LP", "RF", "SCH", "TOOL", "RSN", "ERR", "ISO",
    "AGT", "PRF", "X", "AUD", "CONTRACT", "RESP", "ANT", "CMP", "OLL", "EMB", "RRK", "TOK", "REL",
)  # fmt: skip


class _Profiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: tuple[ProfileData, ...]


def _read_sections() -> dict[str, SectionFile]:
    folder = files(__name__)
    return {
        name: msgspec.toml.decode((folder / f"{name.lower()}.toml").read_bytes(), type=SectionFile) for name in _ORDER
    }


def _read_profiles() -> dict[str, ProfileData]:
    data = (files(__name__) / "profiles.toml").read_bytes()
    return {profile.name: profile for profile in msgspec.toml.decode(data, type=_Profiles).profile}


SECTIONS: dict[str, SectionFile] = _read_sections()
RULES: dict[str, Rule] = {rule.id: rule for section in SECTIONS.values() for rule in section.rules()}
PROFILES: dict[str, ProfileData] = _read_profiles()
AUDITS: tuple[str, ...] = tuple(dict.fromkeys(section.audit for section in SECTIONS.values() if section.audit))
"""What can be audited beside the suite's own rules."""
