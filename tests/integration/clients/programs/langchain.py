import json
from typing import Literal

import house
import scripted.house as scripted
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

QUESTION = "What is the capital of France?"
shown = []


class City(BaseModel):
    city: Literal["Paris", "Rome"]


@tool
def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"rain in {city}"


model = house.model.bind(max_tokens=16, temperature=0)
whole = model.invoke(QUESTION).content
assert whole
shown.append("chat")

assert "".join(chunk.content for chunk in model.stream(QUESTION)) == whole
shown.append("stream")

able = scripted.model.bind_tools([get_weather])
asked = HumanMessage(QUESTION)
called = able.invoke([asked])
(call,) = called.tool_calls
last = able.invoke([asked, called, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])])
assert "rain in Paris" in last.content
shown.append("tools")

assert isinstance(house.model.with_structured_output(City).invoke(QUESTION), City)
shown.append("structured output")

print(json.dumps(shown))
