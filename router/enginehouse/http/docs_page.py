"""The documentation page: the OpenAPI document as one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Node = Mapping[str, Any]  # a part of an OpenAPI document: JSON of any shape

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --code: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: .3rem; margin-top: 3rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: var(--code); border-radius: 4px; }
code { padding: .1em .3em; } pre { padding: .8rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top;
padding: .4rem .6rem; border-bottom: 1px solid var(--line); } .verb { text-transform: uppercase; font-weight: 700; }
.wide { overflow-x: auto; }
"""


def render(document: Node) -> bytes:
    """Return *document* as a page: every operation with its fields, examples and answers, then every schema."""
    info = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])}</h1><p>{_prose(info.get('description', ''))}</p>",
        "<p>The same as data: <a href=/openapi.json>/openapi.json</a></p><nav><ul>",
    ]
    operations = [
        (path, verb, operation)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
        if isinstance(operation, Mapping)
    ]
    parts += [
        f"<li><a href='#{_anchor(verb, path)}'><span class=verb>{verb}</span> <code>{escape(path)}</code></a></li>"
        for path, verb, _ in operations
    ]
    parts.append("</ul></nav>")
    for path, verb, operation in operations:
        parts += _operation(document, path, verb, operation)
    parts.append("<h2>Schemas</h2>")
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        parts.append(f"<h3 id='schema-{escape(name)}'>{escape(name)}</h3>")
        parts.append(f"<p>{_prose(schema.get('description', ''))}</p>")
        parts += _fields(document, schema)
    return "\n".join(parts).encode()


def _operation(document: Node, path: str, verb: str, operation: Node) -> Iterator[str]:
    yield f"<h2 id='{_anchor(verb, path)}'><span class=verb>{verb}</span> <code>{escape(path)}</code></h2>"
    yield f"<p><strong>{escape(operation.get('summary', ''))}</strong></p>"
    yield f"<p>{_prose(operation.get('description', ''))}</p>"
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield "<h3>Request body</h3>"
        yield from _fields(document, _resolve(document, media["schema"]))
        yield from _examples(media)
    yield "<h3>Answers</h3>"
    for status, response in operation.get("responses", {}).items():
        answer = _resolve(document, response)
        yield f"<p><code>{escape(str(status))}</code> {_prose(answer.get('description', ''))}</p>"
        for media in answer.get("content", {}).values():
            yield from _examples(media)


def _fields(document: Node, schema: Node) -> Iterator[str]:
    properties = schema.get("properties")
    if not properties:
        yield f"<p><code>{_kind(schema)}</code></p>"
        return
    required = schema.get("required", ())
    yield "<div class=wide><table><tr><th>field<th>type<th>default<th>meaning</tr>"
    for name, field in properties.items():
        mark = " <em>(required)</em>" if name in required else ""
        default = f"<code>{escape(json.dumps(field['default']))}</code>" if "default" in field else ""
        meaning = field.get("description") or _resolve(document, field).get("description", "")
        yield f"<tr><td><code>{escape(name)}</code>{mark}<td>{_kind(field)}<td>{default}<td>{_prose(meaning)}</tr>"
    yield "</table></div>"


def _kind(schema: Node) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[1])
        return f"<a href='#schema-{name}'>{name}</a>"
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return " or ".join(_kind(option) for option in schema[keyword])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    kind = schema.get("type", "any")
    text = escape(" or ".join(kind) if isinstance(kind, list) else str(kind))
    if "items" in schema and isinstance(schema["items"], Mapping):
        text += f" of {_kind(schema['items'])}"
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return f"{text} ({', '.join(bounds)})" if bounds else text


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "minLength": "length at least",
    "maxLength": "length at most",
    "minItems": "items at least",
    "maxItems": "items at most",
    "maxProperties": "keys at most",
    "pattern": "matching",
}


def _examples(media: Node) -> Iterator[str]:
    if "example" in media:
        yield _example(media["example"])
    for example in media.get("examples", {}).values():
        yield f"<p>{escape(example.get('summary', ''))}</p>"
        yield _example(example["value"])


def _example(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _resolve(document: Node, node: Node) -> Node:
    while "$ref" in node:
        found: Any = document  # walks JSON of any shape
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def _prose(text: str) -> str:
    paragraphs = escape(text).replace("\n\n", "</p><p>")
    pieces = paragraphs.split("`")
    return "".join(f"<code>{piece}</code>" if at % 2 else piece for at, piece in enumerate(pieces))


def _anchor(verb: str, path: str) -> str:
    return f"{verb}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}"
