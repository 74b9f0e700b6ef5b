"""The language of chat templates, as transformers reads it."""

from __future__ import annotations

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser


class _Generation(jinja2.ext.Extension):
    """The tag with which transformers marks what an assistant said; it prints what it holds."""

    tags = {"generation"}  # as jinja2 declares it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_ENVIRONMENT = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", _Generation])  # noqa: S701  # renders nothing


def syntax_error(template: str) -> jinja2.TemplateSyntaxError | None:
    """Why *template* is none, or None."""
    try:
        _ENVIRONMENT.parse(template)
    except jinja2.TemplateSyntaxError as error:
        return error
    return None
