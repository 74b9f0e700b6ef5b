import assert from "node:assert";

import * as house from "./house.mjs";
import * as scripted from "./scripted/house.mjs";

const messages = [{ role: "user", content: "What is the capital of France?" }];
const city = { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"] };
const forAll = { model: house.MODEL, messages, max_tokens: 16, temperature: 0 };
const shown = [];

const whole = (await house.client.chat.completions.create(forAll)).choices[0].message.content;
assert(whole);
shown.push("chat");

let streamed = "";
for await (const chunk of await house.client.chat.completions.create({ ...forAll, stream: true })) {
  streamed += chunk.choices[0].delta.content ?? "";
}
assert.equal(streamed, whole);
shown.push("stream");

const able = { model: scripted.MODEL, tools: [{ type: "function", function: { name: "get_weather", parameters: city } }] };
const called = (await scripted.client.chat.completions.create({ ...able, messages })).choices[0].message;
const result = { role: "tool", tool_call_id: called.tool_calls[0].id, content: "rain in Paris" };
const last = await scripted.client.chat.completions.create({ ...able, messages: [...messages, called, result] });
assert(last.choices[0].message.content.includes("rain in Paris"));
shown.push("tools");

const response_format = { type: "json_schema", json_schema: { name: "city", schema: city } };
const formed = await house.client.chat.completions.create({ ...forAll, response_format });
assert(["Paris", "Rome"].includes(JSON.parse(formed.choices[0].message.content).city));
shown.push("structured output");

console.log(JSON.stringify(shown));
