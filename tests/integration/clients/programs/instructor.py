import json
from typing import Literal

import house
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
shown = []


class City(BaseModel):
    city: Literal["Paris", "Rome"]


for_all = {"model": house.MODEL, "messages": QUESTION, "temperature": 0}
plain = house.client.create(**for_all, response_model=None, max_tokens=16)
assert plain.choices[0].message.content
shown.append("chat")

parts = list(house.client.create_partial(**for_all, response_model=City))
assert parts[-1].city in ("Paris", "Rome")
shown.append("stream")

assert isinstance(house.client.create(**for_all, response_model=City), City)
shown.append("structured output")

print(json.dumps(shown))
