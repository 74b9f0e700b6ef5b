"""Schemas as tools make them: `python -m tests.schemas.generated NODE_FOLDER`, where `npm ci` has been run.

zod's and TypeBox's of one type each, and the tools of servers of the Model Context Protocol, started as they come. Each
must be enforced, but for those in `REFUSED`; random texts of its grammar must fit it by a validator of another project.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import jsonschema_rs

from enginehouse_kit.grammar import output_grammar, schema_form
from enginehouse_plugin import GenerationRequest, Text, Tool
from enginehouse_plugin.errors import InvalidRequest

from . import random_schemas

REFUSED = {"zod: emoji", "zod: hostname", "typebox: regexp"}
"""Pictographs, which Python's characters do not tell; a length over labels that takes too many states; no JSON type."""
SERVERS: dict[str, list[str]] = {
    "@modelcontextprotocol/server-everything": [],
    "@modelcontextprotocol/server-filesystem": ["."],
    "@modelcontextprotocol/server-memory": [],
    "@modelcontextprotocol/server-sequential-thinking": [],
    "@playwright/mcp": [],
    "firecrawl-mcp": [],
}
TEXTS = 10
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
        env={**os.environ, "FIRECRAWL_API_KEY": "none"},
    ) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("no pipes")
        _say(server.stdin, {"id": 1, "method": "initialize", "params": _HELLO})
        _answer(server.stdout, 1)
        _say(server.stdin, {"method": "notifications/initialized"})
        _say(server.stdin, {"id": 2, "method": "tools/list"})
        listed = _answer(server.stdout, 2)
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


def fault(name: str, schema: Any) -> str | None:  # Any: JSON
    """What is wrong with how *schema* is enforced."""
    rng = random.Random(name)
    try:
        grammar = schema_form(schema, "schema")
    except InvalidRequest as refused:
        return None if name in REFUSED else refused.message
    try:
        validator: Any = jsonschema_rs.validator_for(schema, validate_formats=True)  # Any: one class for each draft
    except jsonschema_rs.ValidationError:  # TypeBox writes tuples as draft 7 has them
        validator = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    texts = (random_schemas.text(rng, grammar) for _ in range(TEXTS))
    unsound = [text for text in texts if text is not None and not validator.is_valid(json.loads(text))]
    return f"unsound: {unsound[0]}" if unsound else None


def main() -> int:
    """Judge all; the exit status."""
    folder = Path(sys.argv[1])
    sources: dict[str, dict[str, Any]] = {}
    for source in ("zod", "typebox"):
        script = Path(__file__).parent / "node" / f"{source}_types.mjs"
        copied = folder / script.name  # a module is found from where its importer lies
        copied.write_text(script.read_text())
        sources[source] = json.loads(subprocess.check_output(["node", str(copied)]))
    for package, arguments in SERVERS.items():
        sources[package] = tools = tools_of(folder, package, arguments)
        given = tuple(Tool(name, parameters=schema) for name, schema in tools.items())
        output_grammar(GenerationRequest(id="r", prompt=Text(""), tools=given, tool_choice="auto"))
    is_bad = False
    for source, schemas in sources.items():
        faults = {name: found for name, schema in schemas.items() if (found := fault(f"{source}: {name}", schema))}
        refused = sum(f"{source}: {name}" in REFUSED for name in schemas)
        print(
            f"{source}: {len(schemas) - len(faults) - refused} of {len(schemas)} enforced", *faults.items(), sep="\n  "
        )
        is_bad |= bool(faults)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
