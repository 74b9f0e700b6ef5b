// What n8n's node "OpenAI Chat Model" makes of LangChain's class, and what its agent and its chains do with it.
import assert from "node:assert";

import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";

const { url, key, model, scripted, byResponses } = JSON.parse(process.argv[2]);
const schema = { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false };
const shown = [];

const node = (model, more = {}) =>
  new ChatOpenAI({
    apiKey: key,
    model,
    timeout: 60000,
    maxRetries: 2,
    configuration: { baseURL: url },
    useResponsesApi: byResponses,
    ...more,
  });

const textOf = (message) => message.text;
const asked = new HumanMessage("What is the capital of France?");
const short = node(model, { maxTokens: 16, temperature: 0 });
const whole = textOf(await short.invoke([asked]));
assert(whole);
shown.push("chat");

let streamed = "";
for await (const chunk of await short.stream([asked])) streamed += textOf(chunk);
assert.equal(streamed, whole);
shown.push("stream");

const tool = { type: "function", function: { name: "get_weather", description: "Tells the weather.", parameters: schema } };
const agent = node(scripted).bindTools([tool]);
const called = await agent.invoke([asked]);
const [call] = called.tool_calls;
const result = new ToolMessage({ content: "rain in Paris", tool_call_id: call.id, name: call.name });
assert(textOf(await agent.invoke([asked, called, result])).includes("rain in Paris"));
shown.push("tools");

if (byResponses) {
  const text = { format: { type: "json_schema", name: "my_schema", schema, strict: false } };
  const formed = await node(model, { maxTokens: 64, modelKwargs: { text } }).invoke([asked]);
  assert(["Paris", "Rome"].includes(JSON.parse(textOf(formed)).city));
  shown.push("structured output");
}

console.log(JSON.stringify(shown));
