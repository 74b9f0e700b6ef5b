"""mlx_lm's own generation without a server, for `tests.bench.beside_mlx`.

Run as a program (`python mlx_alone.py FOLDER`). Each line that it reads is a chat request in JSON; it answers with
the number of tokens on a line of its own.
"""

from __future__ import annotations

import json
import sys

from mlx_lm import load, stream_generate


def main() -> None:
    model, tokenizer = load(sys.argv[1])
    for line in sys.stdin:
        fields = json.loads(line)
        prompt = tokenizer.apply_chat_template(fields["messages"], add_generation_prompt=True)
        tokens = 0
        for response in stream_generate(model, tokenizer, prompt, max_tokens=fields["max_tokens"]):
            tokens = response.generation_tokens
        print(tokens, flush=True)


if __name__ == "__main__":
    main()
