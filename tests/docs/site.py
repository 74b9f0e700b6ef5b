"""Builds the documentation site: `python -m tests.docs.site --version 0.1 --out site`.

The pages and the files that they link to are put together in the repository's own layout, so that a link is right on
the site where it is right in the repository. Warnings of the build are errors, and afterwards every link and anchor of
every page that was built is followed; what is elsewhere is not asked for. A version is a folder beside the others.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .fenced import ROOT

CONFIG = ROOT / "docs/site.toml"
_FENCE = re.compile(r"^(```+|~~~+).*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\((?P<target>[^()\s]+)\)")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_BUILD_S = 300


class SiteError(Exception):
    """The site cannot be built: every line is one problem."""


def pages() -> list[Path]:
    """All pages of the site, below the project's root."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    return sorted([*found, *(ROOT / "plugins").glob("*/README.md")])


def linked_files(page: Path) -> Iterator[tuple[str, Path]]:
    """What *page* links to in this repository, as it is written and where it is; not what its code shows."""
    text = _CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for match in _LINK.finditer(text):
        target = urlsplit(match["target"])
        if not target.scheme and target.path:
            yield match["target"], (page.parent / unquote(target.path)).resolve()


def stage(folder: Path) -> None:
    """Put the configuration, the pages and what they link to into *folder*.

    Raises:
        SiteError: a page links to what is not there, or not a file.
    """
    problems = []
    known = pages()
    for page in known:
        _copy(page, folder / "pages")
        for written, file in linked_files(page):
            if not file.is_file() or not file.is_relative_to(ROOT):
                problems.append(f"{page.relative_to(ROOT)}: there is no file for the link '{written}'")
            elif file not in known:
                _copy(file, folder / "pages")
    for picture in (ROOT / "docs").rglob("*.svg"):
        _copy(picture, folder / "pages")
    (folder / "zensical.toml").write_text(configuration(known), encoding="utf-8")
    if problems:
        raise SiteError("\n".join(problems))


def configuration(known: list[Path]) -> str:
    """The configuration of the site, whose navigation has all *known* pages."""
    text = CONFIG.read_text(encoding="utf-8")
    more = [f'"{name}"' for page in known if f'"{(name := str(page.relative_to(ROOT)))}"' not in text]
    return text.replace("    # more\n", f'    {{ "More" = [{", ".join(more)}] }},\n' if more else "")


def build(folder: Path) -> Path:
    """Build the site within *folder*, which is empty; returns where it is.

    Raises:
        SiteError: the build warns of something, or a link leads nowhere.
    """
    stage(folder)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "-f", str(folder / "zensical.toml")],
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
    )
    if done.returncode:
        raise SiteError(f"{done.stdout}\n{done.stderr}")
    site = folder / "site"
    if problems := list(broken_links(site)):
        raise SiteError("\n".join(problems))
    return site


class _Page(HTMLParser):
    """What a page has as anchors, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := named.get(name)))
        for name in ("href", "src"):
            if (link := named.get(name)) is not None and not (tag == "link" and named.get("rel") == "canonical"):
                self.links.append(link)


def broken_links(site: Path) -> Iterator[str]:
    """Every link of every page of *site* that leads nowhere, and everything that a page would load from elsewhere."""
    read = {file: _read(file) for file in site.rglob("*.html")}
    for file, page in read.items():
        if file.name == "404.html":  # which is shown anywhere, and so has absolute links
            continue
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            path = unquote(target.path)
            to = (site / path.lstrip("/") if path.startswith("/") else file.parent / path).resolve() if path else file
            if to.is_dir():
                to /= "index.html"
            if not to.is_file():
                yield f"{file.relative_to(site)}: '{link}' leads nowhere"
            elif to in read and not _has_anchor(read[to], unquote(target.fragment)):
                yield f"{file.relative_to(site)}: '{link}' has no such anchor"


def _has_anchor(page: _Page, name: str) -> bool:
    return not name or name in page.anchors or name.startswith("__")  # which the page's own scripts make


def publish(site: Path, out: Path, version: str) -> None:
    """Put *site* into *out* as *version*, the latest; others stay, and each page can lead to them."""
    if _VERSION.fullmatch(version) is None:
        raise SiteError(f"'{version}' is no name of a version: letters, digits, '.' and '-'")
    target = out / version
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(site, target)
    listed = out / "versions.json"
    others = json.loads(listed.read_text()) if listed.exists() else []
    rows = [{**row, "aliases": []} for row in others if row["version"] != version]
    own = {"version": version, "title": version, "aliases": ["latest"]}
    listed.write_text(json.dumps([own, *rows], indent=2) + "\n")
    (out / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={version}/">'
        f'<title>Enginehouse</title><a href="{version}/">Enginehouse {version}</a>\n'
    )


def _read(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def _copy(file: Path, to: Path) -> None:
    target = to / file.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def main() -> int:
    """Build it."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--version", default="dev", help="what it is called, and the folder that it is put into")
    parser.add_argument("--out", default="site", help="the folder of all versions")
    asked = parser.parse_args()
    folder = ROOT / ".cache/site"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        publish(build(folder), ROOT / asked.out, asked.version)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{asked.out}/{asked.version}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
