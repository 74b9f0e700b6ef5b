// The playground: talk to one model, or to two beside each other. What is said stays in this browser.
import { computed, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, parse, session, words } from "../api";
import { type Answer, blank, type Conversation, conversations, forget, keep, messagesOf, stream, type Turn } from "../chat";
import { lastRequest } from "../last";
import { PARAMS, valueOf } from "../params";
import { instances } from "../house";
import { type Language, snippet } from "../snippets";
import type { Json, ModelCard } from "../types";
import { Copy, Dialog, Name, Note, say } from "../ui";
import { Bubble, ToolResults } from "./answer";
import { given, isScored, schema, Settings, system, tools } from "./settings";

export const cards = signal<ModelCard[]>([]);
const problem = signal("");
const chosen = signal<[string, string]>(["", ""]);
const isDouble = signal(false);
const now = signal<Conversation>(fresh());
const draft = signal("");
const growing = signal<(Answer | null)[]>([]);
const code = signal<Language | null>(null);
let stopping: AbortController | null = null;

const isBusy = computed(() => growing.value.some((one) => one !== null));
const panes = computed(() => (isDouble.value ? [0, 1] : [0]));

function fresh(): Conversation {
  return { id: crypto.randomUUID?.() ?? String(Math.random()), title: "New conversation", at: Date.now(), turns: [] };
}

function cardOf(pane: number): ModelCard | undefined {
  return cards.value.find((one) => one.id === chosen.value[pane]);
}

async function refresh(): Promise<void> {
  const path = session.value?.models_path;
  if (path === undefined) return;
  try {
    const { data } = await ask<{ data: ModelCard[] }>(path);
    cards.value = data;
    const chats = data.filter((one) => one.task === null || one.task === "chat");
    const first = (chats.find((one) => one.state === "ready") ?? chats[0] ?? data[0])?.id ?? "";
    const known = new Set(data.map((one) => one.id));
    const [left, right] = chosen.value;
    chosen.value = [known.has(left) ? left : first, known.has(right) ? right : (chats.find((one) => one.id !== first)?.id ?? first)];
    problem.value = "";
  } catch (error) {
    problem.value = words(error);
  }
}

/** The body of the next request of *pane*, or what is wrong with what is typed. */
function bodyFor(pane: number, turns: Turn[]): { body: { [key: string]: Json } } | { wrong: string } {
  const body: { [key: string]: Json } = {
    model: chosen.value[pane] ?? "",
    messages: messagesOf(turns, pane, system.value) as unknown as Json,
    stream: true,
    stream_options: { include_usage: true },
  };
  for (const param of PARAMS) {
    const { value, problem: wrong } = valueOf(param, given.value[param.name] ?? "");
    if (wrong) return { wrong: `${param.name}: ${wrong}` };
    if (value !== undefined) body[param.name] = value;
  }
  if (isScored.value || "top_logprobs" in body) body.logprobs = true;
  if (tools.value.trim() !== "") {
    const found = parse(tools.value);
    if ("problem" in found) return { wrong: `Tools: ${found.problem}` };
    body.tools = found.value;
  }
  if (schema.value.trim() !== "") {
    const found = parse(schema.value);
    if ("problem" in found) return { wrong: `Schema: ${found.problem}` };
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: found.value } };
  }
  return { body };
}

async function answer(): Promise<void> {
  const path = session.value?.chat_path;
  if (path === undefined || isBusy.value) return;
  if (path === "") {
    problem.value = "No profile that is served here has chat as OpenAI's, which this page speaks: mount one, such as openai.";
    return;
  }
  const conversation = now.value;
  const bodies: { [key: string]: Json }[] = [];
  for (const pane of panes.value) {
    const made = bodyFor(pane, conversation.turns);
    if ("wrong" in made) {
      problem.value = made.wrong;
      return;
    }
    bodies.push(made.body);
  }
  problem.value = "";
  stopping = new AbortController();
  const { signal: until } = stopping;
  growing.value = bodies.map((body) => blank(String(body.model)));
  lastRequest.value = bodies[0] ?? null;
  const whole: Answer[] = [];
  await Promise.all(
    bodies.map((body, pane) =>
      stream(path, body, until, (grown) => {
        whole[pane] = grown;
        growing.value = growing.value.map((one, at) => (at === pane ? grown : one));
      }),
    ),
  );
  growing.value = [];
  now.value = { ...conversation, at: Date.now(), turns: [...conversation.turns, { answers: whole }] };
  keep(now.value);
  say(whole.some((one) => one.problem) ? "The answer failed" : "The answer is there");
}

function add(...turns: Turn[]): void {
  now.value = { ...now.value, turns: [...now.value.turns, ...turns] };
}

async function send(): Promise<void> {
  const text = draft.value;
  if (text.trim() === "" || isBusy.value) return;
  const tried = bodyFor(0, now.value.turns);
  if ("wrong" in tried) {
    problem.value = tried.wrong;
    return;
  }
  if (now.value.turns.length === 0) now.value = { ...now.value, title: text.slice(0, 60) };
  add({ message: { role: "user", content: text } });
  draft.value = "";
  await answer();
}

function Pane({ pane }: { pane: number }) {
  const end = useRef<HTMLDivElement>(null);
  const live = growing.value[pane] ?? null;
  const turns = now.value.turns;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "nearest" });
  }, [turns.length, live?.text.length]);
  const last = turns.at(-1)?.answers;
  return (
    <section class="pane" aria-label={isDouble.value ? `Model ${pane + 1}` : "Conversation"}>
      <div>
        <label for={`model-${pane}`}>Model{isDouble.value ? ` ${pane + 1}` : ""}</label>{" "}
        <select
          id={`model-${pane}`}
          value={chosen.value[pane]}
          onChange={(event) => {
            const next: [string, string] = [...chosen.value];
            next[pane as 0 | 1] = event.currentTarget.value;
            chosen.value = next;
          }}
        >
          {cards.value.map((one) => (
            <option key={one.id} value={one.id}>
              {one.id.length > 60 ? `${one.id.slice(0, 59)}…` : one.id} ({one.state})
            </option>
          ))}
        </select>
      </div>
      <ol class="messages">
        {turns.map((turn, at) => {
          if (turn.message?.role === "user") return <Bubble key={at} who="You" kind="user" text={turn.message.content} />;
          if (turn.message?.role === "tool")
            return <Bubble key={at} who="Result of a tool" kind="user" text={turn.message.content} />;
          const said = turn.answers?.[pane];
          return said ? <Bubble key={at} who={said.model} kind="assistant" answer={said} schema={schema.value} /> : null;
        })}
        {live ? <Bubble who={live.model} kind="assistant" answer={live} schema={schema.value} isGrowing /> : null}
      </ol>
      {!isBusy.value && last?.[pane] && last[pane].calls.length > 0 && pane === 0 ? (
        <ToolResults
          calls={last[pane].calls}
          onSend={(results) => {
            add(...results.map((one) => ({ message: { role: "tool" as const, tool_call_id: one.id, content: one.content } })));
            void answer();
          }}
        />
      ) : null}
      <div ref={end} />
    </section>
  );
}

function Conversations() {
  return (
    <details>
      <summary>Conversations ({conversations.value.length})</summary>
      <p class="hint">They are kept in this browser, and nowhere else.</p>
      <ul class="conversations">
        {conversations.value.map((one) => (
          <li key={one.id}>
            <button
              type="button"
              aria-current={one.id === now.value.id ? "true" : undefined}
              disabled={isBusy.value}
              onClick={() => {
                now.value = one;
              }}
            >
              <Name of={one.title} most={40} />
            </button>
            <button type="button" class="small" aria-label={`Forget ${one.title}`} onClick={() => forget(one.id)}>
              ✕
            </button>
          </li>
        ))}
      </ul>
      {conversations.value.length > 0 ? (
        <button type="button" class="small" onClick={() => forget(null)}>
          Forget all
        </button>
      ) : null}
    </details>
  );
}

const LANGUAGES: Language[] = ["curl", "Python", "Node"];

function CodeDialog({ language }: { language: Language }) {
  const turns = now.value.turns;
  const end = turns.at(-1)?.answers ? turns.slice(0, -1) : turns;
  const asked = end.length > 0 ? end : [{ message: { role: "user" as const, content: draft.value || "Hello." } }];
  const made = bodyFor(0, asked);
  const text =
    "wrong" in made
      ? made.wrong
      : snippet(language, location.origin, session.value?.chat_path ?? "", made.body, session.value?.needs_key ?? false);
  return (
    <Dialog wide title={`The request in ${language}`} onClose={() => (code.value = null)}>
      <div class="buttons">
        {LANGUAGES.map((one) => (
          <button key={one} type="button" aria-pressed={one === language} onClick={() => (code.value = one)}>
            {one}
          </button>
        ))}
        <Copy text={text} />
      </div>
      <pre tabIndex={0} aria-label={`The request in ${language}`}>
        {text}
      </pre>
    </Dialog>
  );
}

export function PlaygroundPage() {
  // The cards are asked for anew when an instance comes or goes, or has loaded.
  const states = [...instances.value.values()].map((one) => one.value.state).join();
  useEffect(() => {
    void refresh();
  }, [states]);
  return (
    <>
      <h1>Playground</h1>
      <div class="playground">
        <div>
          <div class="panes">
            {panes.value.map((pane) => (
              <Pane key={pane} pane={pane} />
            ))}
          </div>
          {problem.value ? <Note kind="bad">{problem.value}</Note> : null}
          <form
            class="composer"
            onSubmit={(event) => {
              event.preventDefault();
              void send();
            }}
          >
            <label class="unseen" for="draft">
              Message
            </label>
            <textarea
              id="draft"
              rows={3}
              placeholder="Say something. Enter sends, Shift+Enter begins a new line."
              value={draft.value}
              onInput={(event) => (draft.value = event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
                  event.preventDefault();
                  void send();
                }
              }}
            />
            <div class="buttons">
              {isBusy.value ? (
                <button type="button" onClick={() => stopping?.abort()}>
                  Stop
                </button>
              ) : (
                <button type="submit" class="primary" disabled={cards.value.length === 0}>
                  Send
                </button>
              )}
              <button type="button" disabled={isBusy.value} onClick={() => (now.value = fresh())}>
                New
              </button>
              <label>
                <input
                  type="checkbox"
                  checked={isDouble.value}
                  disabled={isBusy.value}
                  onChange={(event) => (isDouble.value = event.currentTarget.checked)}
                />{" "}
                Two models
              </label>
              <button type="button" onClick={() => (code.value = "curl")}>
                As code
              </button>
            </div>
          </form>
        </div>
        <aside class="settings" aria-label="Settings">
          <Conversations />
          <Settings card={cardOf(0)} />
        </aside>
      </div>
      {code.value ? <CodeDialog language={code.value} /> : null}
    </>
  );
}
