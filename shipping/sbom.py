"""A bill of materials in CycloneDX for a distribution: what its wheel brings, and what it asks for.

What a wheel brings from others is in the console's pages: packages of npm, as its build lists them. What it asks
for of the package index is named with its range alone, as the installer chooses the version; `compositions` says so.
The same distribution and time give the same bytes.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

Json = dict[str, Any]  # objects of CycloneDX, whose schema a test holds against what is made

SPEC = "1.6"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "sbom.enginehouse")
_LISTED = re.compile(r"^(\S+) (\d\S*) \((\S+)\)$", re.MULTILINE)
"""A package in the list of licences that the console's build writes: name, version, licence."""


def bill(folder: Path, made_at_s: int) -> bytes:
    """The bill of the distribution in *folder*, made at *made_at_s* seconds after 1970."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    root: Json = {
        "type": "application" if "scripts" in project else "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "description": project["description"],
        "licenses": [{"expression": project["license"]}],
        "purl": f"pkg:pypi/{name}@{version}",
    }
    asked = list(_asked(project))
    brought = list(_brought(folder))
    content: Json = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(made_at_s, UTC).isoformat().replace("+00:00", "Z"),
            "component": root,
        },
        "components": [*asked, *brought],
        "dependencies": [
            {"ref": root["bom-ref"], "dependsOn": [each["bom-ref"] for each in (*asked, *brought)]},
            *({"ref": each["bom-ref"]} for each in (*asked, *brought)),
        ],
        "compositions": [
            {"aggregate": "incomplete_third_party_only", "dependencies": [root["bom-ref"]]},
            *([{"aggregate": "complete", "assemblies": [each["bom-ref"] for each in brought]}] if brought else []),
        ],
    }
    content["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))}"
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _asked(project: Json) -> Iterator[Json]:
    """What the installer fetches, those of extras as `optional`."""
    wanted = dict.fromkeys(project["dependencies"], ("required", ""))
    for extra, texts in project.get("optional-dependencies", {}).items():
        wanted |= {text: ("optional", extra) for text in texts if text not in wanted}
    by_name: dict[str, Json] = {}
    for text, (scope, extra) in sorted(wanted.items()):
        requirement = Requirement(text)
        ref = f"pkg:pypi/{requirement.name.lower()}"
        fresh = {"type": "library", "bom-ref": ref, "name": requirement.name, "purl": ref, "scope": scope}
        component = by_name.setdefault(ref, {**fresh, "properties": []})
        component["properties"].append({"name": "enginehouse:requirement", "value": str(requirement)})
        if extra:
            component["properties"].append({"name": "enginehouse:extra", "value": extra})
    yield from by_name.values()


def _brought(folder: Path) -> Iterator[Json]:
    """What is in the pages of the distribution in *folder*, as their licences list it; nothing where there are none."""
    listed = folder / "router/enginehouse/http/console/static/licences.txt"
    if not listed.exists():
        return
    lock = json.loads((folder / "router/console/package-lock.json").read_text())["packages"]
    by_name = {(place.rpartition("node_modules/")[2], each.get("version")): each for place, each in lock.items()}
    for name, version, licence in _LISTED.findall(listed.read_text()):
        ref = f"pkg:npm/{name.replace('@', '%40')}@{version}"
        algorithm, _, digest = by_name[name, version]["integrity"].partition("-")
        yield {
            "type": "library",
            "bom-ref": ref,
            "name": name,
            "version": version,
            "licenses": [{"license": {"id": licence}}],
            "hashes": [{"alg": algorithm.upper().replace("SHA", "SHA-"), "content": base64.b64decode(digest).hex()}],
            "purl": ref,
            "scope": "required",
        }
