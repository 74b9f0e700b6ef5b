import asyncio
import json
from typing import Literal

import house
import scripted.house as scripted
from agents import Agent, Runner, function_tool
from pydantic import BaseModel

QUESTION = "What is the capital of France?"


class City(BaseModel):
    city: Literal["Paris", "Rome"]


@function_tool
def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"rain in {city}"


async def main() -> list[str]:
    shown = []
    # It takes an answer that was cut for an error, and the embedded model does not end: the scripted one does.
    agent = Agent(name="one", model=scripted.model)
    whole = (await Runner.run(agent, QUESTION)).final_output
    assert whole
    shown.append("chat")

    run = Runner.run_streamed(agent, QUESTION)
    parts = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(parts) == whole
    shown.append("stream")

    able = Agent(name="two", model=scripted.model, tools=[get_weather])
    assert "rain in Paris" in (await Runner.run(able, QUESTION)).final_output
    shown.append("tools")

    formed = Agent(name="three", model=house.model, output_type=City)
    assert isinstance((await Runner.run(formed, QUESTION)).final_output, City)
    shown.append("structured output")
    return shown


print(json.dumps(asyncio.run(main())))
