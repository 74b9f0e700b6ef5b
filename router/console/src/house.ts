// The house as the feed tells it: a signal for each instance, so that one that changes draws its own row alone.
import { batch, type Signal, signal } from "@preact/signals";
import { events, headers, refusal, session } from "./api";
import type { Host, House, Instance, Memory, Model, Use } from "./types";

export const state = signal("");
export const requests = signal(0);
export const requestsPerS = signal<number | null>(null);
export const models = signal<Record<string, Model>>({});
export const memory = signal<Record<string, Memory>>({});
export const hosts = signal<Record<string, Host>>({});
export const instances = signal<ReadonlyMap<string, Signal<Instance>>>(new Map());
export const use = new Map<string, Signal<Use | null>>();
export const feed = signal<"connecting" | "live" | "lost">("connecting");

const MOST_WAIT_MS = 10_000;
const RATE_OVER_S = 5;
let seen: { at: number; requests: number }[] = [];
let running: AbortController | null = null;

export function useOf(id: string): Signal<Use | null> {
  let found = use.get(id);
  if (found === undefined) {
    found = signal<Use | null>(null);
    use.set(id, found);
  }
  return found;
}

type Change = { [Part in keyof House]?: House[Part] extends Record<string, infer One> ? Record<string, One | null> : House[Part] };

function merged<T>(before: Record<string, T>, change: Record<string, T | null>): Record<string, T> {
  const after = { ...before };
  for (const [id, one] of Object.entries(change)) {
    if (one === null) delete after[id];
    else after[id] = one;
  }
  return after;
}

function take(change: Change, isWhole: boolean): void {
  batch(() => {
    if (change.state !== undefined) state.value = change.state;
    if (change.requests !== undefined) requests.value = change.requests;
    if (change.models) models.value = merged(isWhole ? {} : models.value, change.models);
    if (change.memory) memory.value = merged(isWhole ? {} : memory.value, change.memory);
    if (change.hosts) hosts.value = merged(isWhole ? {} : hosts.value, change.hosts);
    for (const [id, of] of Object.entries(change.use ?? {})) useOf(id).value = of;
    const known = new Map(isWhole ? [] : instances.value);
    let isOther = isWhole;
    for (const [id, one] of Object.entries(change.instances ?? {})) {
      const before = isWhole ? instances.value.get(id) : known.get(id);
      if (one === null) isOther = known.delete(id) || isOther;
      else if (before !== undefined) {
        before.value = one;
        known.set(id, before);
      } else {
        known.set(id, signal(one));
        isOther = true;
      }
    }
    if (isOther) instances.value = known;
    measure();
  });
}

function measure(): void {
  const now = performance.now() / 1000;
  if (requests.value < (seen.at(-1)?.requests ?? 0)) seen = []; // another server counts from its own beginning
  seen.push({ at: now, requests: requests.value });
  seen = seen.filter((one) => now - one.at <= RATE_OVER_S + 1);
  const first = seen[0];
  if (first !== undefined && now > first.at) requestsPerS.value = (requests.value - first.requests) / (now - first.at);
}

/** Watch the house until `stop`, and come back when the stream breaks. */
export function start(): void {
  if (running !== null) return;
  running = new AbortController();
  void watch(running.signal);
}

export function stop(): void {
  running?.abort();
  running = null;
  feed.value = "connecting";
  seen = [];
}

async function watch(until: AbortSignal): Promise<void> {
  let waitMs = 500;
  while (!until.aborted) {
    try {
      const answer = await fetch("/console/events", { headers: headers(), signal: until });
      if (!answer.ok) throw await refusal(answer);
      for await (const { event, data } of events(answer)) {
        if (until.aborted) return;
        if (event === "end") break;
        performance.mark("house-update-begins");
        take(JSON.parse(data) as Change, event === "house");
        feed.value = "live";
        waitMs = 500;
      }
    } catch {
      if (until.aborted || session.value === null) return;
    }
    feed.value = "lost";
    await new Promise((wake) => setTimeout(wake, waitMs));
    waitMs = Math.min(MOST_WAIT_MS, waitMs * 2);
  }
}
