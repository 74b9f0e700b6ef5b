"""Patterns for the values of JSON Schema's `format`: each accepts some of the format, and nothing else.

Sources: RFC 3339 (dates, times, durations), 5321 (email), 1123 (hostname), 4291 (ipv6), 3986 (uri), 6570
(uri-template), 6901 (json-pointer).
"""

from __future__ import annotations

_LEAP = r"(?:0[48]|[2468][048]|[13579][26])"
_DAYS_31 = r"(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
_DAYS_30 = r"(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
_DAYS_28 = r"02-(?:0[1-9]|1[0-9]|2[0-8])"
_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = rf"(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)"
_DATE = rf"(?:{_YEAR}-(?:{_DAYS_31}|{_DAYS_30}|{_DAYS_28})|{_LEAP_YEAR}-02-29)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
# A name has 253 characters at most, a label 63: here of 32 letters and digits the first, of 19 those behind it.
_LABEL = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,31}"
_BEHIND = r"\.[A-Za-z0-9](?:-?[A-Za-z0-9]){0,18}"
_HOST = rf"{_LABEL}(?:{_BEHIND}){{0,5}}"
_DOMAIN = rf"{_LABEL}(?:{_BEHIND}){{0,3}}\.[A-Za-z]{{2,20}}"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_CLOCK = r"T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S)"
_DAYS = r"[0-9]{1,9}D"
_MONTHS = rf"[0-9]{{1,9}}M(?:{_DAYS})?"
_YEARS = rf"[0-9]{{1,9}}Y(?:{_MONTHS})?"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_EMAIL = rf"{_ATOM}(?:\.?{_ATOM}){{0,31}}@{_DOMAIN}"
_H = r"[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    [
        rf"(?:{_H}:){{7}}{_H}",
        rf"(?:{_H}:){{1,7}}:",
        *(rf"(?:{_H}:){{1,{7 - n}}}(?::{_H}){{1,{n}}}" for n in range(1, 7)),
        rf":(?:(?::{_H}){{1,7}}|:)",
    ]
)
_HEX2 = r"%[0-9A-Fa-f]{2}"
_PCHAR = rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{_HEX2})"
_NO_COLON = rf"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|{_HEX2})"
_PATH = rf"(?:/(?:{_PCHAR}|/)*)?"  # one repetition, so that a length beside it is easily held
_AUTHORITY = rf"//(?:[A-Za-z0-9._~-]{{1,64}}@)?{_HOST}(?::[1-5]?[0-9]{{1,4}})?{_PATH}"
_END = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,15}:"
_URI = rf"{_SCHEME}{_AUTHORITY}{_END}|{_SCHEME}/?{_PCHAR}+{_PATH}{_END}"
_RELATIVE = rf"(?:{_AUTHORITY}|/(?:{_PCHAR}+{_PATH})?|(?:{_NO_COLON}+{_PATH})?){_END}"
_POINTER = r"(?:/(?:[^/~]|~[01])*)*"
_VARIABLE = r"[A-Za-z0-9_]+(?:\*|:[1-9][0-9]{0,3})?"
_TEMPLATE = rf"(?:[A-Za-z0-9._~:/?#@!$&()*+,;=-]|{_HEX2}|\{{[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}})*"
_COUNTS = "|".join(f"{least},(?:[{least}-9]|[1-9][0-9])" for least in range(10))  # the larger one behind
_CLASS = r"\[\^?(?:a-z|A-Z|0-9|[A-Za-z0-9_.@/$]|\\[dws.])+-?\]"
_TIMES = rf"(?:[*+?]|\{{(?:[0-9]{{1,2}},?|{_COUNTS})\}})?"
_PIECES = rf"(?:(?:[A-Za-z0-9_ /@:,-]|\\[dwsDWS./]|\.|{_CLASS}){_TIMES})+"
_PARTS = rf"(?:{_PIECES}|\((?:\?:)?{_PIECES}(?:\|{_PIECES})*\){_TIMES})*"
_REGEX = rf"\^?{_PARTS}(?:\|{_PARTS})*\$?"

FORMATS = {
    name: f"^(?:{pattern})$"
    for name, pattern in {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}T{_TIME}",
        "duration": rf"P(?:(?:{_YEARS}|{_MONTHS}|{_DAYS})(?:{_CLOCK})?|{_CLOCK}|[0-9]{{1,9}}W)",
        "uuid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        "email": _EMAIL,
        "idn-email": _EMAIL,
        "hostname": _HOST,
        "idn-hostname": _HOST,
        "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
        "ipv6": _IPV6,
        "uri": _URI,
        "iri": _URI,
        "uri-reference": f"{_URI}|{_RELATIVE}",
        "iri-reference": f"{_URI}|{_RELATIVE}",
        "uri-template": _TEMPLATE,
        "json-pointer": _POINTER,
        "relative-json-pointer": rf"(?:0|[1-9][0-9]{{0,8}})(?:#|{_POINTER})",
        "regex": _REGEX,
    }.items()
}
"""Every format that the standard defines; all further names are annotations."""

WIDE = {
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "time": r"^[0-9]{2}:[0-9]{2}:[0-9]{2}",
    "date-time": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt_ ]",
    "duration": "^P",
    "email": "@",
    "idn-email": "@",
    "hostname": "^[A-Za-z0-9._-]*$",
    "ipv4": "^[0-9.]+$",
    "ipv6": ":",
    "uri": "^[A-Za-z][A-Za-z0-9+.-]*:",
    "iri": "^[A-Za-z][A-Za-z0-9+.-]*:",
    "json-pointer": "^/|^$",
    "relative-json-pointer": "^[0-9]",
    **dict.fromkeys(("uri-reference", "iri-reference", "uri-template", "idn-hostname", "regex"), ""),
}
"""All of a format is in these, of which `FORMATS` accepts some: what is outside is surely not of the format."""
