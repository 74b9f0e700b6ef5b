"""Schemas as tools make them: `python -m tests.schemas.generated NODE_FOLDER`, where `npm ci` has been run.

pydantic's, zod's and TypeBox's of one type each, and the tools of servers of the Model Context Protocol, started as
they come. Each must be enforced, but for those in `REFUSED`: of values that its grammar gives, and of others made from
them, it must take those that a validator of another project accepts, and no others. The compiler as it was,
llguidance and xgrammar judge the same. Printed by source, and by keyword.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import jsonschema_rs
from pydantic import TypeAdapter

from enginehouse_kit.grammar import output_grammar, schema_form
from enginehouse_plugin import GenerationRequest, Text, Tool
from enginehouse_plugin.errors import InvalidRequest

from . import pydantic_types, random_schemas
from .beside import OWN, judges, verdict
from .fuzz import READ_OTHERWISE
from .table import ALL, Table

REFUSED = {
    "zod: emoji": "pictographs, which Python's characters do not tell",
    "typebox: regexp": "no type of JSON",
    "zod: hostname": "a length over labels, which takes too many states",
    **{f"pydantic: {name}": "items of a set, unlike each other" for name in pydantic_types.REFUSED},
}
SERVERS: dict[str, list[str]] = {
    "@modelcontextprotocol/server-everything": [],
    "@modelcontextprotocol/server-filesystem": ["."],
    "@modelcontextprotocol/server-memory": [],
    "@modelcontextprotocol/server-sequential-thinking": [],
    "@modelcontextprotocol/server-github": [],
    "@modelcontextprotocol/server-slack": [],
    "@modelcontextprotocol/server-google-maps": [],
    "@modelcontextprotocol/server-brave-search": [],
    "@notionhq/notion-mcp-server": [],
    "@playwright/mcp": [],
    "@upstash/context7-mcp": [],
    "firecrawl-mcp": [],
    "tavily-mcp": [],
}
_KEYS = ("FIRECRAWL", "TAVILY", "BRAVE", "GOOGLE_MAPS")
_SECRETS = {**{f"{name}_API_KEY": "none" for name in _KEYS}, "SLACK_BOT_TOKEN": "none", "SLACK_TEAM_ID": "none"}
"""What servers ask for before they start; nothing is called."""
TEXTS = 6
_MOST_DRAWN = 200
"""Texts that are drawn for those `TEXTS`: some get too long, and some the validator reads otherwise."""
_START_S = 240.0
_KEYWORDS = frozenset(
    re.findall(
        r"^\| `([$\w]+)` \| enforced", (Path(__file__).parents[2] / "docs" / "schemas.md").read_text(), re.MULTILINE
    )
)
_EXPONENT = re.compile(r"\de[+-]\d|\.\d{15}")
_HELLO = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}


def tools_of(folder: Path, package: str, arguments: list[str]) -> dict[str, Any]:  # Any: JSON
    """The schemas of the tools that the server in *package* lists."""
    home = folder / "node_modules" / package
    binaries = json.loads((home / "package.json").read_text())["bin"]
    entry = binaries if isinstance(binaries, str) else next(iter(binaries.values()))
    command = ["node", str(home / entry), *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **_SECRETS},
    ) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("no pipes")
        too_late = threading.Timer(_START_S, server.kill)
        too_late.start()
        _say(server.stdin, {"id": 1, "method": "initialize", "params": _HELLO})
        _answer(server.stdout, 1)
        _say(server.stdin, {"method": "notifications/initialized"})
        _say(server.stdin, {"id": 2, "method": "tools/list"})
        listed = _answer(server.stdout, 2)
        too_late.cancel()
        server.kill()
    return {tool["name"]: tool["inputSchema"] for tool in listed["tools"]}


def _say(stdin: IO[str], message: dict[str, Any]) -> None:  # Any: JSON
    stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    stdin.flush()


def _answer(stdout: IO[str], number: int) -> Any:  # Any: JSON
    for line in stdout:
        if line.startswith("{") and json.loads(line).get("id") == number:
            return json.loads(line)["result"]
    raise RuntimeError("the server has ended")


def validator_of(schema: Any) -> Any:  # Any: JSON; one class for each draft
    """The validator for *schema*."""
    try:
        return jsonschema_rs.validator_for(schema, validate_formats=True)
    except jsonschema_rs.ValidationError:  # TypeBox writes tuples as draft 7 has them
        return jsonschema_rs.Draft7Validator(schema, validate_formats=True)


def instances(name: str, schema: Any) -> list[tuple[Any, bool]]:  # Any: JSON
    """Values that the grammar of *schema* gives, others made from them, and what the validator says of each."""
    rng = random.Random(name)
    try:
        grammar = schema_form(schema, "schema")
    except InvalidRequest:
        return []
    validator = validator_of(schema)
    texts = (random_schemas.text(rng, grammar) for _ in range(_MOST_DRAWN))
    fit = (json.loads(text) for text in texts if text is not None and not READ_OTHERWISE.search(text))
    given = list(itertools.islice(fit, TEXTS))
    for value in list(given):
        given.append(random_schemas.value(rng))
        if isinstance(value, dict):
            given.append({**value, "some other key": 1})
            given += [{key: below for key, below in value.items() if key != left_out} for left_out in list(value)[:2]]
            given += [{**value, key: random_schemas.value(rng)} for key in list(value)[:2]]
        elif isinstance(value, list):
            given += [[*value, *value], value[1:]]
    given = [value for value in given if not _EXPONENT.search(json.dumps(value))]  # between bounds there are none
    return [(value, validator.is_valid(value)) for value in given]


def keywords(schema: Any) -> set[str]:  # Any: JSON
    """The keywords that stand in *schema*."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema))
    if not isinstance(schema, dict):
        return set()
    return (schema.keys() & _KEYWORDS).union(*map(keywords, schema.values()))


def sources(folder: Path) -> dict[str, dict[str, Any]]:  # Any: JSON
    """All schemas, by source and name."""
    found: dict[str, dict[str, Any]] = {
        "pydantic": {name: TypeAdapter(kind).json_schema() for name, kind in pydantic_types.TYPES.items()}
    }
    for source in ("zod", "typebox"):
        script = Path(__file__).parent / "node" / f"{source}_types.mjs"
        copied = folder / script.name  # a module is found from where its importer lies
        copied.write_text(script.read_text())
        found[source] = json.loads(subprocess.check_output(["node", str(copied)]))
    for package, arguments in SERVERS.items():
        found[package] = tools = tools_of(folder, package, arguments)
        given = tuple(Tool(name, parameters=schema) for name, schema in tools.items())
        output_grammar(GenerationRequest(id="r", prompt=Text(""), tools=given, tool_choice="auto"))
    return found


def main() -> int:
    """Judge all; the exit status."""
    faults = []
    with judges() as all_judges:
        by_source, by_keyword = Table(all_judges), Table(all_judges)
        for source, schemas in sources(Path(sys.argv[1])).items():
            for name, schema in schemas.items():
                given = instances(name, schema)
                for judge_name, judge in all_judges.items():
                    found, shown = verdict(judge, schema, given, orders=1)
                    by_source.add((source, ALL), judge_name, found)
                    by_keyword.add(keywords(schema), judge_name, found)
                    if judge_name == OWN and found != "refused" and not given:
                        faults.append(f"{source}: {name}: no instance to judge it by")
                    if judge_name == OWN and found != "enforced" and f"{source}: {name}" not in REFUSED:
                        faults.append(f"{source}: {name}: {found}: {json.dumps(shown)}")
    print(*by_source.lines("generated, by source"), "", *by_keyword.lines("generated, by keyword"), sep="\n")
    print("faults:", *faults, sep="\n  ")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
