import assert from "node:assert";

import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import * as house from "./house.mjs";
import * as scripted from "./scripted/house.mjs";

const prompt = "What is the capital of France?";
const forAll = { model: house.model, prompt, maxOutputTokens: 16, temperature: 0 };
const city = z.object({ city: z.enum(["Paris", "Rome"]) });
const shown = [];

const { text } = await generateText(forAll);
assert(text);
shown.push("chat");

let streamed = "";
for await (const part of streamText(forAll).textStream) streamed += part;
assert.equal(streamed, text);
shown.push("stream");

const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: ({ city }) => `rain in ${city}` });
const able = await generateText({ model: scripted.model, prompt, tools: { weather }, stopWhen: stepCountIs(3) });
assert(able.text.includes("rain in Paris"));
shown.push("tools");

const formed = await generateText({ model: house.model, prompt, output: Output.object({ schema: city }) });
assert(["Paris", "Rome"].includes(formed.output.city));
shown.push("structured output");

console.log(JSON.stringify(shown));
