import asyncio
import json
from typing import Literal

import house
import scripted.house as scripted
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput

QUESTION = "What is the capital of France?"
SHORT = {"max_tokens": 16, "temperature": 0}


class City(BaseModel):
    city: Literal["Paris", "Rome"]


async def main() -> list[str]:
    shown = []
    agent = Agent(house.model)
    whole = (await agent.run(QUESTION, model_settings=SHORT)).output
    assert whole
    shown.append("chat")

    async with agent.run_stream(QUESTION, model_settings=SHORT) as answer:
        assert "".join([part async for part in answer.stream_text(delta=True, debounce_by=None)]) == whole
    shown.append("stream")

    able = Agent(scripted.model)

    @able.tool_plain
    def get_weather(city: str) -> str:
        """Tells the weather in a city."""
        return f"rain in {city}"

    assert "rain in Paris" in (await able.run(QUESTION)).output
    shown.append("tools")

    assert isinstance((await Agent(house.model, output_type=NativeOutput(City)).run(QUESTION)).output, City)
    shown.append("structured output")
    return shown


print(json.dumps(asyncio.run(main())))
