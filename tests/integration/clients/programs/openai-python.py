import json

import house
import scripted.house as scripted

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
shown = []

for_all = {"model": house.MODEL, "messages": QUESTION, "max_tokens": 16, "temperature": 0}
whole = house.client.chat.completions.create(**for_all).choices[0].message.content
assert whole
shown.append("chat")

chunks = house.client.chat.completions.create(**for_all, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
shown.append("stream")

tool = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
said = {"model": scripted.MODEL, "tools": [tool]}
message = scripted.client.chat.completions.create(**said, messages=QUESTION).choices[0].message
result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain in Paris"}
last = scripted.client.chat.completions.create(**said, messages=[*QUESTION, message, result])
assert "rain in Paris" in last.choices[0].message.content
shown.append("tools")

form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": False}}
answer = house.client.chat.completions.create(**for_all, response_format=form).choices[0].message.content
assert json.loads(answer)["city"] in ("Paris", "Rome")
shown.append("structured output")

print(json.dumps(shown))
