"""Current, stale, none, unreadable; and what follows for features and refusals."""

from __future__ import annotations

import pytest

from enginehouse.certificates import Certificate, Standing, changes, explained, standing_of, usable
from enginehouse.certificates.folder import Unreadable
from enginehouse_plugin import Capabilities
from enginehouse_plugin.errors import UnsupportedFeature

from .conftest import KEY, a_certificate, a_key

DECLARED = Capabilities(
    context_tokens=512, max_concurrent_requests=2, features=frozenset({"n", "stop", "seed"}), limits={"n": 4}
)


def test_a_certificate_of_the_same_key_is_current_whatever_model_it_was_made_for() -> None:
    standing = standing_of(KEY, "another", [a_certificate()])
    assert (standing.state, standing.reason, standing.proven) == ("current", "", {"n"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backend": "pen"}, "the backend was quill and is pen"),
        ({"plugin_version": "0.2"}, "the plugin's version was 0.1 and is 0.2"),
        ({"engine": "ink"}, "the engine was quill and is ink"),
        ({"engine_version": "1.1"}, "the engine's version was 1.0 and is 1.1"),
        ({"engine_version": None}, "the engine's version was 1.0 and is none"),
        ({"environment": "d" * 16}, "the environment of the engine changed"),
        ({"weights": "e" * 64}, "the weights changed"),
        ({"template": "f" * 16}, "the chat template changed"),
        ({"options": {"slots": "0" * 16}}, "the option slots changed"),
        ({"options": {"threads": "0" * 16}}, "the options slots, threads changed"),
        ({"devices": ("cuda (H200)",)}, "the hardware was cpu (Test CPU) and is cuda (H200)"),
        ({"devices": ("cpu (Test CPU)",) * 2}, "the hardware was cpu (Test CPU) and is cpu (Test CPU), cpu (Test CPU)"),
        ({"suite": "2026.12"}, "the suite's version was 2026.11 and is 2026.12"),
    ],
)
def test_each_part_of_the_key_that_changes_makes_a_certificate_stale_and_is_named(change: dict, words: str) -> None:
    standing = standing_of(a_key(**change), "m", [a_certificate()])
    assert standing.state == "stale"
    assert standing.reason == f"its certificate of 2026-11-21T07:30:00+00:00 is stale: {words}"
    assert standing.proven == frozenset()
    assert a_key(**change).name != KEY.name


def test_every_part_of_the_key_is_compared() -> None:
    """A part that is added to the key and forgotten in the comparison fails here."""
    other = type(KEY)(**{
        name: {"other": "1"} if isinstance(value, dict) else ("other",) if isinstance(value, tuple) else "other"
        for name, value in ((field, getattr(KEY, field)) for field in KEY.__struct_fields__)
    })  # fmt: skip
    assert len(changes(KEY, other)) == len(KEY.__struct_fields__)


def test_where_no_suite_is_installed_its_version_is_not_compared() -> None:
    assert standing_of(a_key(suite=None), "m", [a_certificate()]).state == "current"


def test_of_several_stale_certificates_the_nearest_is_named() -> None:
    far = a_certificate(key=a_key(weights="0" * 64, engine_version="0.9"))
    near = a_certificate(key=a_key(engine_version="0.9"), certified_at="2026-01-01T00:00:00+00:00")
    standing = standing_of(KEY, "m", [far, near])
    assert standing.certificate is near
    assert "the weights" not in standing.reason


def test_certificates_of_other_models_are_none_of_this_one() -> None:
    other = a_certificate(model="other", key=a_key(weights="0" * 64))
    assert standing_of(KEY, "m", [other]).state == "none"


def test_a_damaged_file_of_this_key_is_told_apart_from_none() -> None:
    standing = standing_of(KEY, "m", [], [Unreadable("elsewhere", "x"), Unreadable(KEY.name, "it is damaged")])
    assert (standing.state, standing.reason) == ("unreadable", "its certificate cannot be used: it is damaged")
    assert standing_of(KEY, "m", [], [Unreadable("elsewhere", "x")]).state == "none"


def test_only_proven_features_are_left() -> None:
    current = standing_of(KEY, "m", [a_certificate()])
    assert usable(DECLARED, current).features == {"n"}
    assert usable(DECLARED, current).limits == {"n": 4}
    assert usable(DECLARED, standing_of(a_key(suite="2027.1"), "m", [a_certificate()])).features == frozenset()


def refusal(feature: str, standing: Standing) -> str:
    error = explained(UnsupportedFeature(feature, param=feature), "m", DECLARED, standing)
    assert (error.feature, error.param, error.code) == (feature, feature, "unsupported_parameter")
    return error.message


def test_a_refusal_says_why_a_feature_is_unproven_and_how_to_prove_it() -> None:
    current = standing_of(KEY, "m", [a_certificate()])
    assert "its certificate says failed (STOP1)" in refusal("stop", current)
    assert "its certificate says untested" in refusal("seed", current)
    assert "it has no certificate" in refusal("seed", standing_of(KEY, "m", []))
    assert "the weights changed" in refusal("n", standing_of(a_key(weights="0"), "m", [a_certificate()]))
    assert "'enginehouse certify m'" in refusal("stop", current)


def test_a_refusal_of_what_is_not_declared_or_is_proven_stays_as_it_is() -> None:
    current = standing_of(KEY, "m", [a_certificate()])
    for feature in ("logprobs", "n"):  # `n` may be refused for its limit
        error = UnsupportedFeature(feature, param=feature)
        assert explained(error, "m", DECLARED, current) is error


def test_a_certificate_says_what_is_unproven() -> None:
    certificate: Certificate = a_certificate()
    assert certificate.unproven == {"stop": "failed (STOP1)"}
    assert certificate.has_failures
    assert not certificate.is_clean
