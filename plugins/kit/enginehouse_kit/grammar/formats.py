"""Patterns for the values of JSON Schema's `format`: each accepts some of the format, and nothing else."""

from __future__ import annotations

_DAYS_31 = r"(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
_DAYS_30 = r"(0[469]|11)-(0[1-9]|[12][0-9]|30)"
_DAYS_28 = r"02-(0[1-9]|1[0-9]|2[0-8])"
_DATE = rf"[12][0-9]{{3}}-({_DAYS_31}|{_DAYS_30}|{_DAYS_28})"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,4}}"
_DOMAIN = rf"{_LABEL}(\.{_LABEL}){{0,3}}\.[a-z]{{2,10}}"
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_CLOCK = r"T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S)"
_DAYS = r"[0-9]{1,4}D"
_MONTHS = rf"[0-9]{{1,4}}M({_DAYS})?"
_YEARS = rf"[0-9]{{1,4}}Y({_MONTHS})?"
_ATOM = r"[a-z0-9_+-]{1,30}"

FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": rf"^P(({_YEARS}|{_MONTHS}|{_DAYS})({_CLOCK})?|{_CLOCK}|[0-9]{{1,4}}W)$",
    "uuid": r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "email": rf"^{_ATOM}@{_DOMAIN}$",
    "hostname": f"^{_HOST}$",
    "ipv4": rf"^{_BYTE}(\.{_BYTE}){{3}}$",
    "ipv6": r"^[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}$",
    "uri": rf"^https?://{_HOST}(:[1-9][0-9]{{0,3}})?(/[A-Za-z0-9_.~-]{{0,40}}){{0,8}}(\?[A-Za-z0-9_.~=&-]{{0,80}})?$",
}

FORMATS_LEFT_OPEN = frozenset(
    (
        *("idn-email", "idn-hostname", "uri-reference", "iri", "iri-reference", "uri-template"),
        *("json-pointer", "relative-json-pointer", "regex"),
    )
)
"""Formats that the standard defines and no pattern here is made of; all further names are annotations."""
