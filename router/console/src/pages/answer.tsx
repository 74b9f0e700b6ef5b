// One message of a conversation, and the results of tools that a model has called.
import { useState } from "preact/hooks";
import type { Answer, ScoredToken, ToolCall } from "../chat";
import { Markdown, Plain } from "../markdown";
import { judge } from "../schema";
import { count, name, seconds, visible } from "../text";
import { Copy, Field, Name, Note } from "../ui";

const MOST_TOKENS = 4000;

function shade(logprob: number): string {
  const p = Math.exp(logprob);
  return p < 0.1 ? "p0" : p < 0.3 ? "p1" : p < 0.6 ? "p2" : p < 0.9 ? "p3" : "p4";
}

function told(one: ScoredToken): string {
  const of = (token: string, logprob: number) => `${JSON.stringify(visible(token))} ${(Math.exp(logprob) * 100).toFixed(1)} %`;
  const others = one.top.map((other) => of(other.token, other.logprob));
  return [of(one.token, one.logprob), ...others].join(" · ");
}

function Tokens({ of }: { of: ScoredToken[] }) {
  const [looked, setLooked] = useState<ScoredToken | null>(null);
  return (
    <>
      <div class="tokens">
        {of.slice(0, MOST_TOKENS).map((one, at) => (
          <span key={at} class={shade(one.logprob)} title={told(one)} onClick={() => setLooked(one)}>
            {visible(one.token)}
          </span>
        ))}
      </div>
      {looked ? <p class="small">{told(looked)}</p> : null}
      <details>
        <summary class="small">Probabilities as a list</summary>
        <ol class="small">
          {of.slice(0, 200).map((one, at) => (
            <li key={at}>{told(one)}</li>
          ))}
        </ol>
      </details>
    </>
  );
}

function Judged({ schema, text }: { schema: string; text: string }) {
  const verdict = judge(schema, text);
  if (verdict === null) return null;
  if (verdict.state === "valid") return <Note kind="good">It satisfies the schema.</Note>;
  if (verdict.state === "growing") return <Note kind="calm">Not whole JSON yet.</Note>;
  return <Note kind="bad">It does not satisfy the schema: {verdict.problems.map((one) => name(one, 200)).join("; ")}</Note>;
}

function Figures({ of }: { of: Answer }) {
  const parts: string[] = [];
  if (of.promptTokens !== null) parts.push(`${count(of.promptTokens)} + ${count(of.completionTokens ?? 0)} tokens`);
  if (of.firstMs !== null) parts.push(`first after ${seconds(of.firstMs / 1000)}`);
  if (of.tookMs !== null && of.completionTokens !== null && of.completionTokens > 1 && of.firstMs !== null) {
    parts.push(`${((of.completionTokens - 1) / Math.max(0.001, (of.tookMs - of.firstMs) / 1000)).toFixed(1)} tokens/s`);
  }
  if (of.finish !== null) parts.push(`ends: ${of.finish}`);
  if (of.instance !== null) parts.push(`by ${name(of.instance)}`);
  if (of.ignored !== null) parts.push(`left out: ${name(of.ignored, 300)}`);
  return <p class="small dim figures-line">{parts.join(" · ")}</p>;
}

type Said =
  | { who: string; kind: "user"; text: string }
  | { who: string; kind: "assistant"; answer: Answer; schema: string; isGrowing?: boolean };

export function Bubble(of: Said) {
  return (
    <li class={`message ${of.kind}`} aria-busy={of.kind === "assistant" && of.isGrowing ? "true" : undefined}>
      <p class="who">
        <Name of={of.who} />
      </p>
      {of.kind === "user" ? <Plain text={of.text} /> : <Said of={of.answer} schema={of.schema} isGrowing={of.isGrowing ?? false} />}
    </li>
  );
}

function Said({ of, schema, isGrowing }: { of: Answer; schema: string; isGrowing: boolean }) {
  return (
    <>
      {of.reasoning ? (
        <details open={isGrowing && of.text === ""}>
          <summary class="small">Reasoning</summary>
          <Plain text={of.reasoning} />
        </details>
      ) : null}
      {of.tokens.length > 0 ? <Tokens of={of.tokens} /> : schema.trim() !== "" ? <Plain text={of.text} /> : <Markdown text={of.text} />}
      {of.refusal ? <Note kind="bad">{of.refusal}</Note> : null}
      {of.calls.map((call, at) => (
        <div class="block" key={at}>
          <p class="small">
            calls <strong>{name(call.name)}</strong>
          </p>
          <pre tabIndex={0} aria-label={`Arguments of ${name(call.name)}`}>
            {visible(call.arguments)}
          </pre>
        </div>
      ))}
      {of.text !== "" ? <Judged schema={schema} text={of.text} /> : null}
      {of.problem ? <Note kind="bad">{name(of.problem, 2000)}</Note> : null}
      {isGrowing && of.text === "" && of.reasoning === "" ? <p class="dim">…</p> : null}
      {isGrowing ? null : (
        <>
          <Figures of={of} />
          {of.text ? <Copy text={of.text} /> : null}
        </>
      )}
    </>
  );
}

export function ToolResults({ calls, onSend }: { calls: ToolCall[]; onSend: (results: { id: string; content: string }[]) => void }) {
  const [results, setResults] = useState(calls.map(() => ""));
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSend(calls.map((call, at) => ({ id: call.id, content: results[at] ?? "" })));
      }}
    >
      {calls.map((call, at) => (
        <Field key={call.id} label={`Result of ${name(call.name)}`}>
          {(id) => (
            <textarea
              id={id}
              class="code"
              rows={2}
              value={results[at]}
              onInput={(event) => {
                const text = event.currentTarget.value;
                setResults((before) => before.map((one, place) => (place === at ? text : one)));
              }}
            />
          )}
        </Field>
      ))}
      <button type="submit">Send the results</button>
    </form>
  );
}
