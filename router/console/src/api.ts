// How the console asks the server: its own origin, its key in a header, and in no cookie, so that no request that a
// browser makes by itself carries it.
import { signal } from "@preact/signals";
import type { Json, Session } from "./types";

const KEY = "enginehouse.key";

export const key = signal<string | null>(sessionStorage.getItem(KEY));
export const session = signal<Session | null>(null);

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null,
  ) {
    super(message);
  }
}

export function remember(given: string | null): void {
  key.value = given;
  if (given === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, given);
}

export function headers(): Record<string, string> {
  const all: Record<string, string> = { "x-enginehouse-console": "1" };
  if (key.value !== null) all.authorization = `Bearer ${key.value}`;
  return all;
}

export async function refusal(answer: Response): Promise<Refused> {
  let message = `The server answered with status ${answer.status}.`;
  let code = "";
  let param: string | null = null;
  try {
    const { error } = (await answer.json()) as { error: { message?: string; code?: string; param?: string } };
    message = error.message ?? message;
    code = error.code ?? "";
    param = error.param ?? null;
  } catch {
    // no error of ours: its status is all there is
  }
  if (answer.status === 401 && session.value !== null) {
    remember(null);
    session.value = null;
  }
  return new Refused(answer.status, code, message, param);
}

export async function ask<T>(path: string, body?: unknown, method?: string): Promise<T> {
  const given: RequestInit = { headers: headers(), method: method ?? (body === undefined ? "GET" : "POST") };
  if (body !== undefined) {
    given.body = typeof body === "string" ? body : JSON.stringify(body);
    given.headers = { ...headers(), "content-type": "application/json" };
  }
  let answer: Response;
  try {
    answer = await fetch(path, given);
  } catch {
    throw new Refused(0, "unreachable", "The server does not answer.", null);
  }
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

/** The events of a stream, each with its name and data, as they come. */
export async function* events(answer: Response): AsyncGenerator<{ event: string; data: string }> {
  if (answer.body === null) return;
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let parts: string[] = [];
  let event = "message";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      const lines = text.split("\n");
      parts.push(lines[0] ?? "");
      for (const next of lines.slice(1)) {
        const line = parts.join("").replace(/\r$/, ""); // joined once, however many pieces a long line comes in
        parts = [next];
        if (line === "") {
          if (data.length > 0) yield { event, data: data.join("\n") };
          event = "message";
          data = [];
        } else if (line.startsWith("data:")) data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
        else if (line.startsWith("event:")) event = line.slice(6).trim();
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

export function parse(text: string): { value: Json } | { problem: string } {
  try {
    return { value: JSON.parse(text) as Json };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
