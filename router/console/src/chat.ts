// Conversations, which stay in this browser, and one answer as it comes.
import { signal } from "@preact/signals";
import { events, headers, refusal, words } from "./api";
import type { Json } from "./types";

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export interface ScoredToken {
  token: string;
  logprob: number;
  top: { token: string; logprob: number }[];
}

export interface Answer {
  model: string;
  text: string;
  reasoning: string;
  refusal: string;
  calls: ToolCall[];
  tokens: ScoredToken[];
  finish: string | null;
  problem: string | null;
  instance: string | null;
  ignored: string | null;
  promptTokens: number | null;
  completionTokens: number | null;
  firstMs: number | null;
  tookMs: number | null;
}

export type Message =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string | null; tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[] }
  | { role: "tool"; tool_call_id: string; content: string };

export interface Turn {
  message?: Message; // what the user, or a tool, has said
  answers?: Answer[]; // what each of the panes has answered
}

export interface Conversation {
  id: string;
  title: string;
  at: number;
  turns: Turn[];
}

const KEY = "enginehouse.conversations";
const MOST = 50;

export const conversations = signal<Conversation[]>(load());

function load(): Conversation[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? (found as Conversation[]).filter((one) => Array.isArray(one?.turns)) : [];
  } catch {
    return [];
  }
}

export function keep(one: Conversation): void {
  const others = conversations.value.filter((other) => other.id !== one.id);
  conversations.value = [one, ...others].slice(0, MOST);
  store();
}

export function forget(id: string | null): void {
  conversations.value = id === null ? [] : conversations.value.filter((one) => one.id !== id);
  store();
}

function store(): void {
  let kept = conversations.value;
  for (;;) {
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
      return;
    } catch {
      if (kept.length === 0) return;
      kept = kept.slice(0, -1); // the oldest give way where the browser has no more room
    }
  }
}

export function blank(model: string): Answer {
  return {
    model, text: "", reasoning: "", refusal: "", calls: [], tokens: [], finish: null, problem: null,
    instance: null, ignored: null, promptTokens: null, completionTokens: null, firstMs: null, tookMs: null,
  };
}

/** The messages that a pane has seen: what was said, and its own answers. */
export function messagesOf(turns: Turn[], pane: number, system: string): Message[] {
  const all: Message[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
  for (const turn of turns) {
    if (turn.message) {
      all.push(turn.message);
      continue;
    }
    const answer = turn.answers?.[pane] ?? turn.answers?.[0];
    if (answer === undefined) continue;
    const said: Message = { role: "assistant", content: answer.text === "" && answer.calls.length > 0 ? null : answer.text };
    if (answer.calls.length > 0) {
      said.tool_calls = answer.calls.map((call) => ({
        id: call.id,
        type: "function",
        function: { name: call.name, arguments: call.arguments },
      }));
    }
    all.push(said);
  }
  return all;
}

interface Chunk {
  choices?: {
    delta?: {
      content?: string | null;
      reasoning_content?: string | null;
      refusal?: string | null;
      tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
    };
    finish_reason?: string | null;
    logprobs?: { content?: { token: string; logprob: number; top_logprobs?: { token: string; logprob: number }[] }[] } | null;
  }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  error?: { message?: string };
}

function took(answer: Answer, chunk: Chunk): void {
  if (chunk.error) answer.problem = chunk.error.message ?? "The stream ended with an error.";
  if (chunk.usage) {
    answer.promptTokens = chunk.usage.prompt_tokens;
    answer.completionTokens = chunk.usage.completion_tokens;
  }
  const choice = chunk.choices?.[0];
  if (choice === undefined) return;
  const delta = choice.delta ?? {};
  answer.text += delta.content ?? "";
  answer.reasoning += delta.reasoning_content ?? "";
  answer.refusal += delta.refusal ?? "";
  for (const part of delta.tool_calls ?? []) {
    const call = (answer.calls[part.index] ??= { id: "", name: "", arguments: "" });
    call.id ||= part.id ?? "";
    call.name += part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
  for (const one of choice.logprobs?.content ?? [])
    answer.tokens.push({ token: one.token, logprob: one.logprob, top: one.top_logprobs ?? [] });
  answer.finish = choice.finish_reason ?? answer.finish;
}

const DRAW_EVERY_MS = 60;

/** Ask for an answer and hand it to `onChange` as it grows, at most every 60 ms; ends with it, whole or stopped. */
export async function stream(
  path: string,
  body: { [key: string]: Json },
  until: AbortSignal,
  onChange: (answer: Answer) => void,
): Promise<void> {
  const answer = blank(String(body.model));
  const began = performance.now();
  let drawn = 0;
  try {
    const reply = await fetch(path, {
      method: "POST",
      headers: { ...headers(), "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: until,
    });
    answer.instance = reply.headers.get("x-enginehouse-instance");
    answer.ignored = reply.headers.get("x-enginehouse-ignored");
    if (!reply.ok) throw await refusal(reply);
    for await (const { data } of events(reply)) {
      if (data === "[DONE]") break;
      took(answer, JSON.parse(data) as Chunk);
      const now = performance.now();
      answer.firstMs ??= answer.text || answer.reasoning || answer.calls.length > 0 ? now - began : null;
      if (now - drawn >= DRAW_EVERY_MS) {
        drawn = now;
        onChange({ ...answer });
        await new Promise((next) => setTimeout(next)); // the page draws, and hears a click on Stop
      }
    }
  } catch (error) {
    if (until.aborted) answer.finish = "stopped by you";
    else answer.problem = words(error);
  }
  answer.tookMs = performance.now() - began;
  onChange({ ...answer });
}
