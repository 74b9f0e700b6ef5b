// A request as others would send it.
import type { Json } from "./types";

export type Language = "curl" | "Python" | "Node";

export function snippet(language: Language, origin: string, path: string, body: { [key: string]: Json }, needsKey: boolean): string {
  const base = origin + path.replace(/\/chat\/completions$/, "");
  if (language === "curl") {
    const data = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
    const auth = needsKey ? ` \\\n  -H "authorization: Bearer $ENGINEHOUSE_API_KEY"` : "";
    return `curl -N ${origin}${path} \\\n  -H 'content-type: application/json'${auth} \\\n  -d '${data}'\n`;
  }
  if (language === "Python") {
    const key = needsKey ? 'os.environ["ENGINEHOUSE_API_KEY"]' : '"none"';
    return `import json${needsKey ? "\nimport os" : ""}

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key})
body = json.loads(${pythonText(JSON.stringify(body, null, 2))})
${ownOf(body)}for chunk in client.chat.completions.create(**body${OWN.some((one) => one in body) ? ", extra_body=own" : ""}):
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
`;
  }
  const key = needsKey ? "process.env.ENGINEHOUSE_API_KEY" : '"none"';
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(base)}, apiKey: ${key} });
const stream = await client.chat.completions.create(${JSON.stringify(body, null, 2)});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
process.stdout.write("\\n");
`;
}

const OWN = ["top_k", "min_p", "repetition_penalty", "min_tokens"]; // the SDK has no names for these

function ownOf(body: { [key: string]: Json }): string {
  const own = OWN.filter((one) => one in body);
  return own.length === 0 ? "" : `own = {name: body.pop(name) for name in ${JSON.stringify(own)}}\n`;
}

/** *text*, which is JSON, as a literal: raw where it can be read, else escaped. */
function pythonText(text: string): string {
  return text.includes("'''") ? JSON.stringify(text) : `r'''${text}'''`;
}
