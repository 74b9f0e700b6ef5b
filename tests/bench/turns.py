"""How much of an agent's conversation the prefix cache keeps when a line at its head changes with each request.

Ten turns of a conversation with some thousand tokens of instructions and tools go through Messages to llama.cpp with
small random weights and the embedded model's tokenizer, as no figure here is of time; once for each thing that a mount
may do with that line (`changing_lines`). Printed: the prompt tokens of each turn, and those that came from the cache.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from tests.integration.served import MODEL, Served

from tests.weights import brief_gguf

POLICIES = ("move", "drop", "keep")
CONTEXT_TOKENS = 8192
CONFIG = f"""
[server]
port = 0
first_token_timeout_s = 1800
hang_timeout_s = 1800

[models."{MODEL}"]
context_tokens = {CONTEXT_TOKENS}
reproducible = true
placements = [{{ backend = "llamacpp", source = {json.dumps(str(brief_gguf()))}, options = {{ slots = 1 }} }}]
""" + "".join(
    f'\n[[mounts]]\nprofile = "openai"\npath = "/{policy}"\nsettings.changing_lines = "{policy}"\n'
    for policy in POLICIES
)
_WORDS = ("the", "file", "reads", "writes", "when", "which", "folder", "before", "command", "result", "user", "asks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10, help="turns of each conversation")
    parser.add_argument("--head", type=int, default=6500, help="tokens of instructions and tools, about")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        served = Served(CONFIG, Path(folder)).wait_ready()
        try:
            rows = {policy: conversation(served.url, policy, chosen.turns, chosen.head) for policy in POLICIES}
        finally:
            served.close()
    print("| turn | " + " | ".join(f"{policy}: prompt tokens | cached" for policy in POLICIES) + " |")
    print("|---" * (1 + 2 * len(POLICIES)) + "|")
    for turn in range(chosen.turns):
        cells = (f"{prompt:,} | {cached:,}" for prompt, cached in (rows[policy][turn] for policy in POLICIES))
        print(f"| {turn + 1} | {' | '.join(cells)} |")
    return 0


def conversation(url: str, policy: str, turns: int, head_tokens: int) -> list[tuple[int, int]]:
    """Prompt tokens and cached tokens of each turn of a conversation with *policy*."""
    dice = random.Random(policy)  # other words for each: nothing of one is in the cache for the next
    texts = [_text(dice, head_tokens // 8) for _ in range(8)]
    tools = [
        {"name": f"tool_{at}", "description": text, "input_schema": {"type": "object", "properties": {}}}
        for at, text in enumerate(texts[4:])
    ]
    messages: list[dict[str, Any]] = []
    found = []
    with httpx.Client(base_url=f"{url}/{policy}", timeout=600.0, trust_env=False) as client:
        for turn in range(turns):
            messages.append({"role": "user", "content": f"Question {turn}: {_text(dice, 20)}?"})
            line = f"x-anthropic-billing-header: cc_version=2.1; cch={uuid.uuid4().hex[:8]};"
            body = {
                "model": MODEL,
                "max_tokens": 16,
                "temperature": 0,
                "system": [{"type": "text", "text": line}, *({"type": "text", "text": text} for text in texts[:4])],
                "tools": tools,
                "messages": messages,
            }
            reply = client.post("/v1/messages", json=body)
            reply.raise_for_status()
            answer = reply.json()
            usage = answer["usage"]
            cached = usage["cache_read_input_tokens"]
            found.append((usage["input_tokens"] + cached, cached))
            text = "".join(block.get("text", "") for block in answer["content"])
            messages.append({"role": "assistant", "content": text or "Yes."})
    return found


def _text(dice: random.Random, n_words: int) -> str:
    return " ".join(dice.choices(_WORDS, k=n_words))


if __name__ == "__main__":
    sys.exit(main())
