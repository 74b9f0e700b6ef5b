// Why a request would go where it would, and what would become of each of its fields. Nothing is sent to a model.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, parse, Refused, words } from "../api";
import { models } from "../house";
import { lastRequest } from "../last";
import type { Explained } from "../types";
import { Badge, Field, Name, Note, Table } from "../ui";

const body = signal("");
const found = signal<Explained | null>(null);
const problem = signal<{ message: string; param: string | null } | null>(null);

const ASKS: Record<string, object> = {
  "a plain request": {},
  "a seed": { seed: 1 },
  "a JSON schema": {
    response_format: {
      type: "json_schema",
      json_schema: { name: "answer", schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
    },
  },
  "a tool that must be called": {
    tools: [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: {} } } }],
    tool_choice: "required",
  },
  "logprobs and four choices": { logprobs: true, top_logprobs: 5, n: 4 },
};

function example(more: object): string {
  const model = Object.values(models.value).find((one) => one.state === "ready") ?? Object.values(models.value)[0];
  return JSON.stringify({ model: model?.name ?? "", messages: [{ role: "user", content: "Hello." }], ...more }, null, 2);
}

async function explain(): Promise<void> {
  found.value = null;
  problem.value = null;
  const read = parse(body.value);
  if ("problem" in read) {
    problem.value = { message: `This is no JSON: ${read.problem}`, param: null };
    return;
  }
  try {
    found.value = await ask<Explained>("/admin/explain", body.value);
  } catch (error) {
    problem.value = { message: words(error), param: error instanceof Refused ? error.param : null };
  }
}

function Fields({ of }: { of: Explained }) {
  const all: [string, string[], string][] = [
    ["Honoured", of.honoured, "asked for, and done by the instance"],
    ["Reported", of.reported, "left out, and named in x-enginehouse-ignored"],
    ["Recorded", of.recorded, "written down; it cannot change the answer"],
  ];
  return (
    <Table caption="What becomes of the fields" head={["What happens", "Fields", "Meaning"]}>
      {all.map(([label, fields, meaning]) => (
        <tr key={label}>
          <th scope="row">{label}</th>
          <td>{fields.length > 0 ? fields.map((one) => <code key={one}>{one} </code>) : <span class="dim">none</span>}</td>
          <td class="dim">{meaning}</td>
        </tr>
      ))}
    </Table>
  );
}

function Result({ of }: { of: Explained }) {
  return (
    <section aria-labelledby="result" aria-live="polite">
      <h2 id="result">
        {of.instance === null ? "It goes nowhere" : "It goes to "}
        {of.instance === null ? null : <Name of={of.instance} />}
      </h2>
      {of.refusal ? <Note kind="bad">{of.refusal}</Note> : null}
      <h3>Candidates</h3>
      <Table caption="Candidates" head={["Instance", "Host", "Verdict", "Reason"]}>
        {of.considered.map((one) => (
          <tr key={one.instance}>
            <th scope="row">
              <Name of={one.instance} />
            </th>
            <td>{one.host ?? "this host"}</td>
            <td>
              {one.instance === of.instance ? (
                <Badge of="ready">chosen</Badge>
              ) : one.could ? (
                <Badge of="calm">could</Badge>
              ) : (
                <Badge of="failed">rejected</Badge>
              )}
            </td>
            <td>{one.reason}</td>
          </tr>
        ))}
      </Table>
      <h3>Fields</h3>
      <Fields of={of} />
      {of.asked.length > 0 ? (
        <>
          <h3>What it asks for</h3>
          <Table caption="What it asks for" head={["Field", "Feature", "Instances that have it"]}>
            {of.asked.map((one) => (
              <tr key={`${one.param} ${one.feature}`}>
                <th scope="row">
                  <code>{one.param}</code>
                </th>
                <td>{one.feature}</td>
                <td>{one.had_by.length > 0 ? one.had_by.join(", ") : <Badge of="failed">none</Badge>}</td>
              </tr>
            ))}
          </Table>
        </>
      ) : null}
    </section>
  );
}

export function ExplainPage() {
  const isKnown = Object.keys(models.value).length > 0;
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const isWritten = body.value !== "" || document.activeElement === box.current;
    if (isKnown && !isWritten) body.value = example({});
  }, [isKnown]);
  return (
    <>
      <h1>Explain</h1>
      <p>Which instance would get a chat request now, why no other, and what would become of its fields. Nothing is sent.</p>
      <div class="buttons">
        <label>
          Take{" "}
          <select
            value=""
            onChange={(event) => {
              const picked = event.currentTarget.value;
              if (picked === "last") body.value = JSON.stringify(lastRequest.value, null, 2);
              else if (picked in ASKS) body.value = example(ASKS[picked] ?? {});
            }}
          >
            <option value="">…</option>
            {lastRequest.value ? <option value="last">the playground's last request</option> : null}
            {Object.keys(ASKS).map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      </div>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void explain();
        }}
      >
        <Field label="Request">
          {(id) => (
            <textarea
              id={id}
              ref={box}
              class="code"
              rows={12}
              spellcheck={false}
              value={body.value}
              onInput={(event) => (body.value = event.currentTarget.value)}
            />
          )}
        </Field>
        <button type="submit" class="primary">
          Explain
        </button>
      </form>
      {problem.value ? (
        <Note kind="bad">
          It is refused{problem.value.param ? <> because of <code>{problem.value.param}</code></> : null}: {problem.value.message}
        </Note>
      ) : null}
      {found.value ? <Result of={found.value} /> : null}
    </>
  );
}
