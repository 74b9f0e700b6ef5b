// What the playground's requests say beside their messages.
import { signal } from "@preact/signals";
import { parse } from "../api";
import { defaultOf, isLacking, PARAMS, type Param, range, valueOf } from "../params";
import { schemaProblem } from "../schema";
import type { ModelCard } from "../types";
import { Field } from "../ui";

export const system = signal("");
export const given = signal<Record<string, string>>({});
export const tools = signal("");
export const schema = signal("");
export const isScored = signal(false);

const EXAMPLE_TOOLS = JSON.stringify(
  [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "The weather in a city",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
  null,
  2,
);
const EXAMPLE_SCHEMA = JSON.stringify(
  {
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer", minimum: 0 } },
    required: ["name", "age"],
    additionalProperties: false,
  },
  null,
  2,
);

function ParamField({ of, card }: { of: Param; card: ModelCard | undefined }) {
  const text = given.value[of.name] ?? "";
  const { problem } = valueOf(of, text);
  const lacking = isLacking(of, card);
  const byDefault = defaultOf(of, card);
  const set = (value: string) => {
    given.value = { ...given.value, [of.name]: value };
  };
  const hint = [of.says, range(of), of.kind === "choice" && byDefault && `default ${byDefault}`, card?.defaults_refused[of.name]].filter(Boolean).join("; ");
  return (
    <Field
      label={of.name}
      hint={
        <>
          {hint}
          {lacking ? <strong> This model refuses it.</strong> : null}
          {problem ? <strong role="alert"> {problem}</strong> : null}
        </>
      }
    >
      {(id, describedBy) =>
        of.kind === "choice" ? (
          <select id={id} aria-describedby={describedBy} value={text} onChange={(event) => set(event.currentTarget.value)}>
            <option value="">as by default</option>
            {of.choices?.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        ) : (
          <input
            id={id}
            aria-describedby={describedBy}
            aria-invalid={problem ? "true" : undefined}
            type={of.kind === "text" ? "text" : "number"}
            step={of.kind === "number" ? (of.step ?? "any") : 1}
            min={of.least}
            max={of.most}
            placeholder={byDefault}
            value={text}
            onInput={(event) => set(event.currentTarget.value)}
          />
        )
      }
    </Field>
  );
}

function Json({ of, label, example, problem }: { of: typeof tools; label: string; example: string; problem: string }) {
  return (
    <>
      <Field label={label} hint={problem ? <strong role="alert">{problem}</strong> : "JSON; nothing asks for nothing"}>
        {(id, describedBy) => (
          <textarea
            id={id}
            class="code"
            rows={6}
            spellcheck={false}
            aria-describedby={describedBy}
            aria-invalid={problem ? "true" : undefined}
            value={of.value}
            onInput={(event) => (of.value = event.currentTarget.value)}
          />
        )}
      </Field>
      <div class="buttons">
        <button type="button" class="small" onClick={() => (of.value = example)}>
          Example
        </button>
        <button type="button" class="small" onClick={() => (of.value = "")}>
          Clear
        </button>
      </div>
    </>
  );
}

export function Settings({ card }: { card: ModelCard | undefined }) {
  const read = tools.value.trim() === "" ? null : parse(tools.value);
  const toolsProblem = read === null ? "" : "problem" in read ? read.problem : Array.isArray(read.value) ? "" : "a list is needed";
  return (
    <>
      <details open>
        <summary>System prompt</summary>
        <label class="unseen" for="system">
          System prompt
        </label>
        <textarea id="system" rows={3} value={system.value} onInput={(event) => (system.value = event.currentTarget.value)} />
      </details>
      <details open>
        <summary>Parameters</summary>
        <label>
          <input type="checkbox" checked={isScored.value} onChange={(event) => (isScored.value = event.currentTarget.checked)} />{" "}
          logprobs as colours
        </label>
        {PARAMS.map((one) => (
          <ParamField key={one.name} of={one} card={card} />
        ))}
      </details>
      <details>
        <summary>Tools</summary>
        <Json of={tools} label="Tools" example={EXAMPLE_TOOLS} problem={toolsProblem} />
        <p class="hint">What the model calls is not run: you write the results.</p>
      </details>
      <details>
        <summary>JSON schema</summary>
        <Json of={schema} label="Schema of the answer" example={EXAMPLE_SCHEMA} problem={schemaProblem(schema.value)} />
      </details>
    </>
  );
}
