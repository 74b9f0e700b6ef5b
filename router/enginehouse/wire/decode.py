"""One strict typed decode of any struct: bytes of a body to the struct; every violation is an `InvalidRequest`.

An ordinary body that is right costs one typed decode, and one encode that proves that no key is given twice; what is
wrong with any other body is worked out in `problems`. What is expected where a pattern or a key does not fit is
said by the types: `Meta(extra={"expected": "…"})`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from enginehouse.violation import ANY, Step, Violation, taken_apart, value_at
from enginehouse.wire import problems
from enginehouse.wire.duplicates import Proof, duplicate_key
from enginehouse.wire.leniency import Leniency
from enginehouse.wire.places import Places
from enginehouse.wire.structure import check_values, holds, is_too_deep, let_others

T = TypeVar("T", bound=msgspec.Struct)
UnknownFields = Literal["refuse", "report"]

_untyped = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_MINUS_ZERO = b'"-0"'


class Decoder(Generic[T]):
    """Decodes bodies into the struct *root*. Made once for each kind of request.

    *mend* puts in form what a body may leave out and types cannot say, in the body decoded without types; it says
    whether it has changed anything.
    """

    def __init__(self, root: type[T], mend: Callable[[Any], bool] | None = None) -> None:
        self._mend = mend
        self._decode = msgspec.json.Decoder(root).decode
        self._places = Places(root)
        self._leniency = Leniency(root)
        self._proof = Proof(root)

    def decode(self, body: bytes, *, unknown_fields: UnknownFields = "refuse") -> tuple[T, tuple[str, ...]]:
        """Decode *body*; return it and the names of its unknown fields (none with `"refuse"`).

        A number like `5.0` is an integer where one is wanted, as JSON Schema has it; nothing else is converted.

        Raises:
            InvalidRequest: with the field in `param`.
        """
        check_values(body)
        unknown: tuple[str, ...] = ()
        is_proven = False
        try:
            try:
                decoded = self._decode(body)
            except msgspec.ValidationError as error:
                decoded, unknown, is_proven = self._decode_mended(body, error, unknown_fields)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise problems.malformed(body, error) from error
            let_others(len(body))
            if is_proven or (not holds(body, _MINUS_ZERO) and self._proof.holds(body, decoded)):
                return decoded, unknown
            tree = _decode_untyped(body)
            if path := duplicate_key(body, tree):
                raise problems.duplicate_key(path)
            if path := self._leniency.minus_zero(tree):
                raise problems.bad_key(path, tree, self._places)
        except RecursionError as error:
            raise problems.too_deep() from error
        return decoded, unknown

    def _decode_mended(
        self, body: bytes, error: msgspec.ValidationError, unknown_fields: UnknownFields
    ) -> tuple[T, tuple[str, ...], bool]:
        """Decode a body that *error* was about, if all it needs is leniency; also whether its keys are checked."""
        let_others(len(body))
        if is_too_deep(body):
            raise problems.too_deep() from error
        try:
            tree = _decode_untyped(body)
        except msgspec.ValidationError as out_of_range:
            raise problems.number_out_of_range(error, out_of_range) from out_of_range
        except (msgspec.DecodeError, UnicodeDecodeError) as malformed:
            raise problems.malformed(body, malformed) from malformed
        report = unknown_fields == "report"
        unknown: tuple[str, ...] = ()
        violation = taken_apart(error, tree)
        let_others(len(body))
        is_checked = False
        if self._mend is not None:
            # Before anything is added: what is added could make up for a key that was dropped.
            if path := duplicate_key(body, tree):
                raise problems.duplicate_key(path) from error
            is_checked = self._mend(tree)
        if is_checked or self._leniency.is_mendable(violation, report_unknown=report):
            unknown = self._leniency.mend(tree, report_unknown=report)
            try:
                mended = _encode(tree)
                let_others(len(mended))
                return self._decode(mended), unknown, is_checked and not holds(body, _MINUS_ZERO)
            except msgspec.ValidationError as left:
                error, violation = left, taken_apart(left, tree)
        if not is_checked and (path := duplicate_key(body, tree)):  # of values that were dropped, `tree` knows nothing
            raise problems.duplicate_key(path) from error
        raise problems.refusal(self._with_keys(violation, tree), tree, self._places) from error

    def _with_keys(self, violation: Violation, tree: Any) -> Violation:
        """Name the keys that msgspec does not: where it says "some value", or "some key", of an object."""
        steps = violation.steps
        while ANY in steps:
            at = steps.index(ANY)
            key = self._first_at_fault(violation, tree, steps[:at])
            if key is None:
                return msgspec.structs.replace(violation, steps=steps[:at])
            steps = (*steps[:at], key, *steps[at + 1 :])
        if violation.is_of_key and (key := self._first_at_fault(violation, tree, steps)) is not None:
            steps = (*steps, key)
        return msgspec.structs.replace(violation, steps=steps)

    def _first_at_fault(self, violation: Violation, tree: Any, steps: tuple[Step, ...]) -> str | None:
        """Find the first key of the object at *steps* that *violation* is about, by halves."""
        mapping = value_at(tree, steps)
        if not isinstance(mapping, dict) or not mapping:
            return None
        items = list(mapping.items())
        only = {steps[0]: tree[steps[0]]}  # what else is missing is found after this
        low, high = 0, len(items)
        while high - low > 1:
            middle = (low + high) // 2
            mapping.clear()
            mapping.update(items[low:middle])
            if self._shows(violation, only):
                high = middle
            else:
                low = middle
        mapping.clear()
        mapping.update(items)
        return str(items[low][0])

    def _shows(self, violation: Violation, tree: Any) -> bool:
        try:
            self._decode(_encode(tree))
        except msgspec.ValidationError as error:
            return taken_apart(error, tree) == violation
        return False


def _decode_untyped(body: bytes) -> Any:  # Any: what a body holds
    tree = _untyped.decode(body)
    let_others(len(body))
    return tree
