from __future__ import annotations

import re
from html.parser import HTMLParser

from enginehouse.config import Config
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.openai.chat.examples import REQUESTS
from enginehouse.dialects.openai.openapi import document
from enginehouse.http.docs_page import render


class Page(HTMLParser):
    """Tags with their attributes, ids, links and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            {"id": self.ids, "href": self.links, "src": self.sources}.get(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


DOCUMENT = document(mounts(Config(), {})[0].endpoints)
PAGE = Page(render(DOCUMENT))


def test_the_page_loads_nothing_from_anywhere() -> None:
    assert PAGE.sources == []
    assert "script" not in PAGE.tags
    assert "link" not in PAGE.tags
    assert all(link.startswith("#") or link == "/openapi.json" for link in PAGE.links)


def test_every_operation_and_schema_has_a_place_and_every_link_leads_to_one() -> None:
    for path in DOCUMENT["paths"]:
        assert path in PAGE.text
    for name in DOCUMENT["components"]["schemas"]:
        assert f"schema-{name}" in PAGE.ids
    assert {link[1:] for link in PAGE.links if link.startswith("#")} <= set(PAGE.ids)
    assert len(PAGE.ids) == len(set(PAGE.ids))


def test_every_field_of_a_request_and_every_example_is_shown() -> None:
    for field in DOCUMENT["components"]["schemas"]["ChatRequest"]["properties"]:
        assert re.search(rf"\b{field}\b", PAGE.text)
    for request in REQUESTS.values():
        assert request["messages"][0]["role"] in PAGE.text
    assert "data: [DONE]" in PAGE.text


def test_text_of_the_document_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>"
    page = Page(
        render(
            {
                "info": {"title": evil, "description": evil},
                "paths": {
                    f"/{evil}": {
                        "get": {
                            "summary": evil,
                            "description": f"`{evil}`",
                            "responses": {
                                "200": {
                                    "description": evil,
                                    "content": {"x": {"example": evil, "examples": {"a": {"value": {evil: evil}}}}},
                                }
                            },
                        }
                    }
                },
                "components": {
                    "schemas": {evil: {"properties": {evil: {"type": evil, "description": evil, "default": evil}}}}
                },
            }
        )
    )
    assert "script" not in page.tags
    assert page.text.count("alert(1)") >= 10
