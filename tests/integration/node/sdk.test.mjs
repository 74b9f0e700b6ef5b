// The OpenAI SDK for Node, unmodified, against the real model. Relations are asserted, never prose.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const { BASE_URL, MODEL, SLASHED } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: "none needed", maxRetries: 0 });

const question = [{ role: "user", content: "What is the capital of France?" }];
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Tells the weather in a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 20 } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const clock = {
  type: "function",
  function: {
    name: "get_time",
    parameters: { type: "object", properties: { zone: { enum: ["utc", "cet"] } }, required: ["zone"] },
  },
};

const ask = (fields = {}) =>
  client.chat.completions.create({
    model: MODEL,
    messages: question,
    max_completion_tokens: 24,
    temperature: 0,
    seed: 7, // with a seed the engine leaves its prefix cache alone
    ...fields,
  });

async function chunks(fields) {
  const parts = [];
  for await (const part of await ask({ ...fields, stream: true })) parts.push(part);
  return parts;
}

const textOf = (parts) => parts.flatMap((part) => part.choices.map((choice) => choice.delta.content ?? "")).join("");

test("an answer holds what the reference promises", async () => {
  const answer = await ask();
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.model, MODEL);
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.match(answer._request_id, /^req-/);
});

test("an answer goes back as it is and the conversation goes on", async () => {
  const first = await ask();
  const second = await ask({
    messages: [...question, first.choices[0].message, { role: "user", content: "Are you sure?" }],
  });
  assert.ok(second.choices[0].message.content);
  assert.ok(second.usage.prompt_tokens > first.usage.total_tokens);
});

test("a stream says what the whole answer says", async () => {
  const whole = await ask({ max_completion_tokens: 12 });
  const parts = await chunks({ max_completion_tokens: 12, stream_options: { include_usage: true } });
  assert.equal(parts[0].choices[0].delta.role, "assistant");
  assert.equal(textOf(parts), whole.choices[0].message.content);
  assert.deepEqual(parts.at(-1).choices, []);
  assert.equal(parts.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
  assert.equal(parts.at(-2).choices[0].finish_reason, whole.choices[0].finish_reason);
});

test("the SDK's own collector of a stream gives the final message", async () => {
  const runner = client.chat.completions.stream({
    model: MODEL,
    messages: question,
    max_completion_tokens: 12,
    temperature: 0,
    seed: 7, // with a seed the engine leaves its prefix cache alone
  });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content, (await ask({ max_completion_tokens: 12 })).choices[0].message.content);
});

test("a stream may be left in the middle", async () => {
  const stream = await ask({ stream: true, max_completion_tokens: 400 });
  let seen = 0;
  for await (const part of stream) {
    assert.ok(part.choices);
    if (++seen === 3) break;
  }
  assert.equal(seen, 3);
});

test("JSON mode gives an object", async () => {
  const answer = await ask({
    messages: [{ role: "user", content: "Describe a cat as JSON with the keys name and age." }],
    response_format: { type: "json_object" },
    max_completion_tokens: 400,
  });
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(typeof JSON.parse(answer.choices[0].message.content), "object");
});

test("a schema is kept", async () => {
  const schema = {
    type: "object",
    properties: { mood: { enum: ["glad", "sad"] }, age: { type: "integer", minimum: 0, maximum: 150 } },
    required: ["mood", "age"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.parse({
    model: MODEL,
    messages: question,
    max_completion_tokens: 80,
    response_format: { type: "json_schema", json_schema: { name: "person", strict: true, schema } },
  });
  const found = JSON.parse(answer.choices[0].message.content);
  assert.deepEqual(Object.keys(found).sort(), ["age", "mood"]);
  assert.ok(["glad", "sad"].includes(found.mood));
  assert.ok(Number.isInteger(found.age) && found.age >= 0 && found.age <= 150);
});

test("a required call is one of the tools, and its result is answered", async () => {
  const call = await ask({ tools: [weather, clock], tool_choice: "required", max_completion_tokens: 100 });
  const { message } = call.choices[0];
  assert.ok(["get_weather", "get_time"].includes(message.tool_calls[0].function.name));
  assert.equal(Object.keys(JSON.parse(message.tool_calls[0].function.arguments)).length, 1);
  const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "clear sky" }));
  const answer = await ask({
    messages: [...question, message, ...results],
    tools: [weather, clock],
    tool_choice: "none",
  });
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.choices[0].message.tool_calls, undefined);
});

test("a named call is that tool, streamed too", async () => {
  const fields = {
    tools: [weather, clock],
    tool_choice: { type: "function", function: { name: "get_time" } },
    max_completion_tokens: 60,
  };
  const whole = (await ask(fields)).choices[0].message.tool_calls[0].function;
  assert.equal(whole.name, "get_time");
  const deltas = (await chunks(fields)).flatMap((part) => part.choices.flatMap((c) => c.delta.tool_calls ?? []));
  assert.equal(deltas[0].function.name, "get_time");
  assert.equal(deltas.map((delta) => delta.function.arguments ?? "").join(""), whole.arguments);
});

test("the choice auto gives text or calls, and either goes back", async () => {
  const { message } = (await ask({ tools: [weather], tool_choice: "auto", max_completion_tokens: 60 })).choices[0];
  assert.ok(message.content || message.tool_calls?.length);
  const results = (message.tool_calls ?? []).map(({ id }) => ({ role: "tool", tool_call_id: id, content: "rain" }));
  const next = results.length ? results : [{ role: "user", content: "Thank you." }];
  assert.ok((await ask({ messages: [...question, message, ...next], tools: [weather] })).choices[0].message);
});

test("n, logprobs, stop and seed are honoured", async () => {
  const many = await ask({ n: 2, logprobs: true, top_logprobs: 2, max_completion_tokens: 5, seed: 1 });
  assert.deepEqual(many.choices.map((choice) => choice.index), [0, 1]);
  for (const { message, logprobs } of many.choices) {
    assert.equal(Buffer.from(logprobs.content.flatMap((token) => token.bytes)).toString(), message.content);
    assert.ok(logprobs.content.every((token) => token.top_logprobs.length === 2));
  }
  const free = (await ask()).choices[0].message.content;
  const stopped = (await ask({ stop: [free.slice(5, 8)] })).choices[0];
  assert.equal(stopped.message.content, free.slice(0, free.indexOf(free.slice(5, 8))));
  const said = async () =>
    (await ask({ seed: 5, temperature: 1.5, max_completion_tokens: 8 })).choices[0].message.content;
  assert.equal(await said(), await said());
});

test("errors are of the SDK's classes and name the field", async () => {
  await assert.rejects(ask({ temperature: 3 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    assert.equal(error.code, "decimal_above_max_value");
    return true;
  });
  await assert.rejects(ask({ model: "gpt-x" }), OpenAI.NotFoundError);
  await assert.rejects(chunks({ top_p: 2 }), OpenAI.BadRequestError);
});

test("models are listed and retrieved, with slashes in their ids too", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids.sort(), [MODEL, SLASHED].sort());
  assert.equal((await client.models.retrieve(SLASHED)).id, SLASHED);
  await assert.rejects(client.models.retrieve("nobody/nothing"), OpenAI.NotFoundError);
});

test("a server with keys gives AuthenticationError without one", async () => {
  const stranger = new OpenAI({ baseURL: process.env.LOCKED_URL, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  const friend = new OpenAI({ baseURL: process.env.LOCKED_URL, apiKey: process.env.KEY, maxRetries: 0 });
  assert.ok((await friend.models.list()).data.length);
});
