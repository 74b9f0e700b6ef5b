// npm install openai; run with: node chat.mjs
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8000/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "not needed without keys",
});
const stream = await client.chat.completions.create({
  model: process.env.MODEL ?? "smollm2-135m",
  messages: [{ role: "user", content: "Once upon a time" }],
  max_tokens: 40,
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
process.stdout.write("\n");
