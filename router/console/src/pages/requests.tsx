// What requests took: the last of them by their facts, how long they took, who asked, and what went wrong.
import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask, session, words } from "../api";
import { clock, count, percent, seconds } from "../text";
import type { EndedRequest, Histogram, Requests, UsageTotal } from "../types";
import { Badge, Name, Note, Table } from "../ui";
import { Credits } from "./credits";
import { Keys } from "./keys";

const EVERY_MS = 2000;
const MOST_SHOWN = 100;
const MOST_KEPT = 500;

const all = signal<Requests | null>(null);
const usage = signal<UsageTotal[] | null>(null);
const days = signal("7");
const problem = signal("");
const wanted = signal("");
const isFailedOnly = signal(false);

const shown = computed(() => {
  const text = wanted.value.toLowerCase();
  return (all.value?.requests ?? [])
    .filter((one) => !isFailedOnly.value || one.error !== null || one.status >= 400)
    .filter((one) => text === "" || `${one.model} ${one.instance} ${one.key} ${one.error} ${one.id}`.toLowerCase().includes(text))
    .slice(0, MOST_SHOWN);
});

async function poll(): Promise<void> {
  if (document.hidden) return;
  try {
    const before = all.value;
    const told = await ask<Requests>(`/admin/requests?since=${before?.number ?? 0}`);
    const isAnew = before === null || told.number < before.number; // the server has begun anew
    const older = isAnew ? [] : before.requests;
    if (isAnew || told.number !== before.number) {
      all.value = { ...told, requests: [...told.requests, ...older].slice(0, MOST_KEPT) };
    }
    problem.value = "";
  } catch (error) {
    problem.value = words(error);
  }
}

async function addUp(): Promise<void> {
  if (!session.value?.has_accounts) return;
  try {
    usage.value = (await ask<{ usage: UsageTotal[] }>(`/admin/usage?days=${days.value}&by=key&by=model`)).usage;
  } catch (error) {
    problem.value = words(error);
  }
}

function Times({ title, of }: { title: string; of: Histogram }) {
  const first = of.counts.findIndex((n) => n > 0);
  const last = of.counts.findLastIndex((n) => n > 0);
  const most = Math.max(...of.counts, 1);
  if (first < 0) return null;
  const from = Math.max(0, first - 1);
  return (
    <div class="histogram">
      <h4>{title}</h4>
      <ol>
        {of.counts.slice(from, last + 1).map((n, at) => {
          const bound = of.bounds[from + at];
          const label = bound === undefined ? `over ${seconds(of.bounds.at(-1) ?? 0)}` : `≤ ${seconds(bound)}`;
          return (
            <li key={label}>
              <span>{label}</span>
              <span class="value" style={{ width: `${(n / most) * 100}%` }} aria-hidden="true" />
              <span class="figure">{count(n)}</span>
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function Last({ of }: { of: EndedRequest[] }) {
  const head = ["Ended", "Model", "Instance", "Key", "Status", "#Queue", "#First", "#Took", "#Prompt", "#Cached", "#Answer", "Ends", "Left out", "#Cost"];
  return (
    <Table caption="The last requests" head={head}>
      {of.map((one) => (
        <tr key={one.number}>
          <td title={one.id}>{clock(one.at)}</td>
          <td>
            <Name of={one.model || "–"} most={32} /> <span class="small dim">{one.endpoint}</span>
          </td>
          <td>
            <Name of={one.instance ?? "–"} most={32} />
          </td>
          <td>
            <Name of={one.key ?? "–"} most={24} />
          </td>
          <td>
            {one.error === null ? <span>{one.status}</span> : <Badge of="failed">{`${one.status} ${one.error}`}</Badge>}
            {one.cancelled ? <span class="small"> left</span> : null}
          </td>
          <td class="number">{seconds(one.queue_s)}</td>
          <td class="number">{seconds(one.ttft_s)}</td>
          <td class="number">{seconds(one.duration_s)}</td>
          <td class="number">{count(one.prompt_tokens)}</td>
          <td class="number">{count(one.cached_tokens)}</td>
          <td class="number">{count(one.completion_tokens)}</td>
          <td>{one.finish.join(", ")}</td>
          <td>{one.ignored.join(", ")}</td>
          <td class="number">{one.cost ?? "–"}</td>
        </tr>
      ))}
    </Table>
  );
}

function ByUse({ of }: { of: Requests }) {
  const sorted = [...of.use].sort((one, other) => other.completion_tokens - one.completion_tokens);
  return (
    <Table caption="By key and model" head={["Key", "Model", "#Requests", "#Failed", "#Prompt", "#Cached", "#Answer", "#Reasoning", "#Credits"]}>
      {sorted.map((one) => (
        <tr key={`${one.key} ${one.model}`}>
          <th scope="row">
            <Name of={one.key || "none"} most={32} />
          </th>
          <td>
            <Name of={one.model || "not served here"} most={40} />
          </td>
          <td class="number">{count(one.requests)}</td>
          <td class="number">{count(one.failed)}</td>
          <td class="number">{count(one.prompt_tokens)}</td>
          <td class="number">{one.prompt_tokens > 0 ? percent(one.cached_tokens / one.prompt_tokens) : "–"}</td>
          <td class="number">{count(one.completion_tokens)}</td>
          <td class="number">{count(one.reasoning_tokens)}</td>
          <td class="number">{one.cost ?? "–"}</td>
        </tr>
      ))}
    </Table>
  );
}

function Usage() {
  const rows = usage.value ?? [];
  return (
    <section aria-labelledby="usage">
      <h2 id="usage">Usage that is kept</h2>
      <div class="buttons">
        <label>
          Days{" "}
          <select
            value={days.value}
            onChange={(event) => {
              days.value = event.currentTarget.value;
              void addUp();
            }}
          >
            {["1", "7", "30", "365"].map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      </div>
      <Table caption="Usage that is kept" head={["Key", "Model", "#Requests", "#Prompt", "#Cached", "#Answer", "#Reasoning", "#Cost"]}>
        {rows.map((one) => (
          <tr key={`${one.key} ${one.model}`}>
            <th scope="row">
              <Name of={one.key ?? "none"} most={32} />
            </th>
            <td>
              <Name of={one.model || "–"} most={40} />
            </td>
            <td class="number">{count(one.requests)}</td>
            <td class="number">{count(one.prompt_tokens)}</td>
            <td class="number">{count(one.cached_tokens)}</td>
            <td class="number">{count(one.completion_tokens)}</td>
            <td class="number">{count(one.reasoning_tokens)}</td>
            <td class="number">{one.cost}</td>
          </tr>
        ))}
      </Table>
    </section>
  );
}

export function RequestsPage() {
  useEffect(() => {
    void poll();
    void addUp();
    const timer = setInterval(() => void poll(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const told = all.value;
  return (
    <>
      <h1>Requests and usage</h1>
      <p>Facts of requests that have ended since the server began. Prompts and answers are kept nowhere.</p>
      {problem.value ? <Note kind="bad">{problem.value}</Note> : null}
      {told === null ? null : (
        <>
          <section aria-labelledby="last">
            <h2 id="last">The last requests</h2>
            <div class="filters" role="search">
              <label>
                Find <input type="search" value={wanted.value} onInput={(event) => (wanted.value = event.currentTarget.value)} />
              </label>
              <label>
                <input
                  type="checkbox"
                  checked={isFailedOnly.value}
                  onChange={(event) => (isFailedOnly.value = event.currentTarget.checked)}
                />{" "}
                failed only
              </label>
              <span class="dim">
                {shown.value.length} of {count(told.number)}
              </span>
            </div>
            <Last of={shown.value} />
          </section>
          <section aria-labelledby="times">
            <h2 id="times">Times</h2>
            {told.times.map((one) => (
              <div key={one.model}>
                <h3>
                  <Name of={one.model || "not served here"} />
                </h3>
                <div class="histograms">
                  <Times title="Time to the first part of the answer" of={one.ttft} />
                  <Times title="Time in all" of={one.duration} />
                </div>
              </div>
            ))}
          </section>
          <section aria-labelledby="use">
            <h2 id="use">By key and model</h2>
            <ByUse of={told} />
          </section>
          <section aria-labelledby="errors">
            <h2 id="errors">Errors</h2>
            {told.errors.length === 0 ? (
              <p class="dim">None.</p>
            ) : (
              <Table caption="Errors by code" head={["Status", "Code", "#Requests"]}>
                {told.errors.map((one) => (
                  <tr key={`${one.status} ${one.code}`}>
                    <td>{one.status}</td>
                    <th scope="row">{one.code}</th>
                    <td class="number">{count(one.requests)}</td>
                  </tr>
                ))}
              </Table>
            )}
          </section>
        </>
      )}
      {session.value?.has_accounts ? <Usage /> : null}
      {session.value?.has_keys ? <Keys /> : null}
      {session.value?.has_accounts ? <Credits /> : null}
    </>
  );
}
