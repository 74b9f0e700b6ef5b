import json
from typing import Literal

import house
import scripted.house as scripted
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

QUESTION = "What is the capital of France?"
shown = []


class City(BaseModel):
    """A city."""

    city: Literal["Paris", "Rome"]


def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"rain in {city}"


asked = [ChatMessage(role="user", content=QUESTION)]
whole = house.model.chat(asked, max_tokens=16, temperature=0).message.content
assert whole
shown.append("chat")

parts = house.model.stream_chat(asked, max_tokens=16, temperature=0)
assert "".join(part.delta or "" for part in parts) == whole
shown.append("stream")

tool = FunctionTool.from_defaults(get_weather)
called = scripted.model.chat_with_tools([tool], chat_history=asked)
(call,) = scripted.model.get_tool_calls_from_response(called)
result = ChatMessage(
    role="tool", content=str(tool(**call.tool_kwargs)), additional_kwargs={"tool_call_id": call.tool_id}
)
last = scripted.model.chat_with_tools([tool], chat_history=[*asked, called.message, result])
assert "rain in Paris" in last.message.content
shown.append("tools")

assert isinstance(house.model.as_structured_llm(City).chat(asked).raw, City)
shown.append("structured output")

print(json.dumps(shown))
