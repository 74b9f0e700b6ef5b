"""A schema document: what its references lead to."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from .limits import Budget, Unsupported

_ONE = frozenset(
    (
        *("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames"),
        *("then", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems", "items"))
_MAPS = frozenset(("$defs", "definitions", "dependentSchemas", "dependencies", "patternProperties", "properties"))


_INDEX = re.compile(r"[0-9]{1,9}")  # more digits than 4,300 cannot even become a number


class Document:
    """A whole schema with the names of its parts."""

    def __init__(self, root: Any, budget: Budget) -> None:  # Any: JSON, not yet checked
        self.root = root
        self._resources: dict[str, Any] = {"": root}
        self._anchors: dict[tuple[str, str], Any] = {}
        self._dynamic: dict[str, list[Any]] = {}
        self._bases: dict[int, str] = {}
        self.has_recursive_anchor = False
        """Whether `$recursiveRef` may lead to several places."""
        todo: list[tuple[Any, str]] = [(root, "")]
        while todo:
            schema, base = todo.pop()
            if not isinstance(schema, dict):
                continue
            budget.spend()
            base = self._named(schema, base)
            for keyword, value in schema.items():
                if keyword in _MAPS and isinstance(value, dict):
                    todo += [(part, base) for part in value.values()]
                elif keyword in _LISTS and isinstance(value, list):
                    todo += [(part, base) for part in value]
                elif keyword in _ONE:
                    todo.append((value, base))

    def _named(self, schema: dict[str, Any], base: str) -> str:
        """Note the names of *schema*; the base of references in it."""
        own = schema.get("$id")
        if isinstance(own, str):
            base = _joined(base, urldefrag(own)[0])
            self._resources.setdefault(base, schema)
        self._bases[id(schema)] = base
        self.has_recursive_anchor |= schema.get("$recursiveAnchor") is True
        for keyword in ("$anchor", "$dynamicAnchor"):
            name = schema.get(keyword)
            if isinstance(name, str):
                self._anchors.setdefault((base, name), schema)
                if keyword == "$dynamicAnchor":
                    self._dynamic.setdefault(name, []).append(schema)
        if isinstance(own, str) and own.startswith("#"):  # drafts 6 and 7 name anchors so
            self._anchors.setdefault((base, own[1:]), schema)
        return base

    def target(self, schema: dict[str, Any], keyword: str, path: str) -> tuple[Any, str]:
        """What the reference *keyword* of *schema* leads to, and a path for it.

        Raises:
            Unsupported: it leads nowhere, or outside of the document.
        """
        reference = schema[keyword]
        if not isinstance(reference, str):
            raise Unsupported(path, keyword, "must be a string")
        uri, fragment = urldefrag(_joined(self._bases.get(id(schema), ""), reference))
        if uri not in self._resources:
            raise Unsupported(path, keyword, "must point into the same schema, as '#/$defs/…'")
        target = self._resources[uri]
        if fragment and not fragment.startswith("/"):
            name = unquote(fragment)
            if (uri, name) not in self._anchors:
                raise Unsupported(path, keyword, f"points to '{reference}', which is not in the schema")
            if keyword == "$dynamicRef" and len(self._dynamic.get(name, ())) > 1:
                raise Unsupported(path, keyword, "may lead to several places")
            return self._anchors[uri, name], reference
        for part in fragment.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and _INDEX.fullmatch(name) and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                raise Unsupported(path, keyword, f"points to '{reference}', which is not in the schema")
        return target, reference


def _joined(base: str, reference: str) -> str:
    try:
        return reference if not base else urljoin(base, reference)
    except ValueError:
        return reference
