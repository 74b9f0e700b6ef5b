"""pip install openai; the SDK reads OPENAI_BASE_URL and OPENAI_API_KEY from the environment."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "not needed without keys"),
)
stream = client.chat.completions.create(
    model=os.environ.get("MODEL", "smollm2-135m"),
    messages=[{"role": "user", "content": "Once upon a time"}],
    max_tokens=40,
    stream=True,
)
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
