from __future__ import annotations

import hashlib

import pytest

from enginehouse.accounts import KeyRing
from enginehouse.config import KeyConfig
from enginehouse.http.admit import admit, check_key
from enginehouse_plugin.errors import EnginehouseError

from .lanes import Recorded

JSON = ("content-type", "application/json")


def ring(*secrets: str) -> KeyRing:
    return KeyRing([KeyConfig(name=each, sha256=hashlib.sha256(each.encode()).hexdigest()) for each in secrets])


def code(exchange: Recorded, keys: KeyRing) -> str:
    with pytest.raises(EnginehouseError) as refused:
        admit(exchange, keys)
    return refused.value.code


def test_the_name_of_the_key_is_found() -> None:
    assert admit(Recorded(JSON, method="POST"), ring()) == "anonymous"
    assert admit(Recorded(JSON, ("authorization", "Bearer k"), method="POST"), ring("k")) == "k"


def test_a_key_may_come_bare_in_a_header_of_its_own() -> None:
    keys = ring("k")
    assert admit(Recorded(JSON, ("x-api-key", "k"), method="POST"), keys) == "k"
    assert code(Recorded(JSON, ("x-api-key", "no"), method="POST"), keys) == "invalid_api_key"
    both = Recorded(JSON, ("x-api-key", "k"), ("authorization", "Bearer no"), method="POST")
    assert code(both, keys) == "invalid_api_key"


def test_what_is_wrong_is_told_in_the_order_method_key_media_type_encoding() -> None:
    keys, key, gzip = ring("k"), ("authorization", "Bearer k"), ("content-encoding", "gzip")
    assert code(Recorded(gzip), keys) == "method_not_allowed"
    assert code(Recorded(gzip, method="POST"), keys) == "missing_api_key"
    assert code(Recorded(gzip, ("authorization", "Bearer no"), method="POST"), keys) == "invalid_api_key"
    assert code(Recorded(gzip, key, method="POST"), keys) == "unsupported_media_type"
    assert code(Recorded(gzip, key, JSON, method="POST"), keys) == "unsupported_content_encoding"


def test_a_key_that_is_refused_is_logged_with_its_address_and_not_itself(logs) -> None:
    assert code(Recorded(JSON, ("authorization", "Bearer wrong"), method="POST"), ring("k")) == "invalid_api_key"
    (line,) = logs
    assert (line["event"], line["client"], line["error"]) == ("key refused", "1.2.3.4", "invalid_api_key")
    assert "wrong" not in str(line)


def test_a_head_that_was_admitted_is_judged_again_when_the_keys_change() -> None:
    keys, exchange = ring("k"), Recorded(JSON, ("authorization", "Bearer k"), method="POST")
    assert admit(exchange, keys) == admit(exchange, keys) == "k"
    keys.replace([])
    assert admit(exchange, keys) == "anonymous"
    keys.replace([KeyConfig(name="other", sha256=hashlib.sha256(b"other").hexdigest())])
    assert code(exchange, keys) == "invalid_api_key"


@pytest.mark.parametrize("value", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_a_media_type_may_have_parameters_and_any_case(value: str) -> None:
    assert admit(Recorded(("content-type", value), method="POST"), ring()) == "anonymous"


@pytest.mark.parametrize("coding", ["utf-8", "latin-1"])
def test_a_key_beyond_ascii_matches_in_either_coding(coding: str) -> None:
    """Clients differ in how they write one into a header."""
    assert check_key(ring("clé"), "Bearer clé".encode(coding), "1.2.3.4") == "clé"


def test_bytes_that_are_no_text_are_a_wrong_key() -> None:
    with pytest.raises(EnginehouseError) as refused:
        check_key(ring("k"), b"Bearer \xff\xfe", "1.2.3.4")
    assert refused.value.code == "invalid_api_key"
