// The house: hosts, memory, and every instance with what it does and what may be done with it.
import { computed, signal, type Signal } from "@preact/signals";
import { instances, models, requests, requestsPerS, state, useOf } from "../house";
import { bytes, count, name, percent } from "../text";
import type { Instance } from "../types";
import { Badge, Name } from "../ui";
import { Asked } from "./asked";
import { Hosts } from "./hosts";

type Order = "load" | "unload" | "drain" | "pin" | "unpin";
const ORDERS: Record<Order, { title: string; says: string; done: string }> = {
  load: { title: "Load", says: "It is loaded now, or woken.", done: "is told to load" },
  unload: { title: "Unload", says: "Its memory is given back when what runs has ended; a request loads it again.", done: "is told to unload" },
  drain: { title: "Drain", says: "It is taken out when what runs has ended; no request loads it until you do.", done: "is told to drain" },
  pin: { title: "Pin", says: "Nothing that needs its memory takes it, until the server ends.", done: "is pinned" },
  unpin: { title: "Unpin", says: "What needs its memory may take it when it is idle.", done: "is pinned no more" },
};

const wanted = signal<{ order: Order; id: string } | null>(null);
const filter = signal("");
const only = signal("");

const totals = computed(() => {
  let running = 0;
  let waiting = 0;
  let ready = 0;
  for (const one of instances.value.values()) {
    running += one.value.running;
    waiting += one.value.waiting;
    ready += one.value.state === "ready" ? 1 : 0;
  }
  return { running, waiting, ready };
});

function Figures() {
  const { running, waiting, ready } = totals.value;
  const rate = requestsPerS.value;
  const all: [string, string][] = [
    ["Server", state.value || "…"],
    ["Instances ready", `${ready} of ${instances.value.size}`],
    ["Sequences running", count(running)],
    ["Requests waiting", count(waiting)],
    ["Requests", count(requests.value)],
    ["Requests per second", rate === null ? "–" : rate.toFixed(1)],
  ];
  return (
    <dl class="figures">
      {all.map(([label, value]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Progress({ of }: { of: Instance }) {
  const told = of.progress;
  if (told === null) return null;
  return (
    <span class="progress">
      {told.fraction === null ? (
        <progress aria-label={told.stage} />
      ) : (
        <progress aria-label={told.stage} max={1} value={told.fraction} />
      )}
      <span class="small">
        {told.stage} {told.fraction === null ? "" : percent(told.fraction)}
      </span>
    </span>
  );
}

function Certified({ of }: { of: Instance }) {
  const told = of.standing;
  if (told === null) return <span class="dim">–</span>;
  const figures = told.state === "none" ? "" : ` ${told.proven}/${told.declared}`;
  return (
    <Badge of={told.state} title={told.reason || (told.certified_at ?? "")}>
      {told.state}
      {figures}
    </Badge>
  );
}

function ordersFor(of: Instance): Order[] {
  const orders: Order[] = [];
  if (of.state !== "ready" && of.state !== "loading") orders.push("load");
  if (of.state === "ready" || of.state === "loading" || of.state === "asleep") orders.push("unload");
  if (!of.held && of.state !== "closed") orders.push("drain");
  orders.push(of.pinned ? "unpin" : "pin");
  return orders;
}

function Row({ id, of }: { id: string; of: Signal<Instance> }) {
  const one = of.value;
  const use = useOf(id).value;
  const memoryBytes = Object.values(one.memory_bytes).reduce((sum, n) => sum + n, 0);
  const expected = Object.values(one.footprint_bytes).reduce((sum, n) => sum + n, 0);
  return (
    <tr>
      <th scope="row">
        <Name of={id} most={48} />
        {one.pinned ? <span class="small"> pinned</span> : null}
        {one.held ? <span class="small"> taken out</span> : null}
      </th>
      <td>
        <Badge of={one.state} title={one.reason} /> <Progress of={one} />
        {one.state === "failed" ? <p class="small reason">{one.reason}</p> : null}
        {one.aside !== null ? (
          <Badge of="stale" title={`${one.aside} ${one.answers}`}>
            set aside
          </Badge>
        ) : null}
        {one.breaker !== "closed" ? <Badge of="open">breaker {one.breaker}</Badge> : null}
      </td>
      <td>
        <Name of={one.host ?? "this host"} most={24} />
        <span class="small dim">
          {" "}
          {[one.backend, ...one.devices].join(", ")}
        </span>
      </td>
      <td class="number">
        {one.running}/{one.capacity || "–"}
      </td>
      <td class="number">{one.waiting}</td>
      <td class="number">{one.tokens_s === null ? "–" : one.tokens_s.toFixed(one.tokens_s < 10 ? 1 : 0)}</td>
      <td class="number">
        {one.cache_used === null ? (
          "–"
        ) : (
          <>
            <meter min={0} max={1} high={0.9} optimum={0} value={one.cache_used} aria-label={`KV cache of ${name(id)}`} /> {percent(one.cache_used)}
          </>
        )}
      </td>
      <td class="number">{use && use.prompt_tokens > 0 ? percent(use.cached_tokens / use.prompt_tokens) : "–"}</td>
      <td class="number">
        {memoryBytes > 0 ? bytes(memoryBytes) : expected > 0 ? <span class="dim">≈ {bytes(expected)}</span> : "–"}
      </td>
      <td>
        <Certified of={one} />
      </td>
      <td class="actions">
        {ordersFor(one).map((order) => (
          <button
            key={order}
            type="button"
            class="small"
            aria-label={`${order === "load" && one.state === "asleep" ? "Wake" : ORDERS[order].title} ${id}`}
            onClick={() => {
              wanted.value = { order, id };
            }}
          >
            {order === "load" && one.state === "asleep" ? "Wake" : ORDERS[order].title}
          </button>
        ))}
      </td>
    </tr>
  );
}

const HEAD = ["Instance", "State", "Where", "#Running", "#Waiting", "#Tokens/s", "#KV cache", "#Cached", "#Memory", "Certificate", "Orders"];

function Instances() {
  const text = filter.value.toLowerCase();
  const all = [...instances.value.entries()].filter(
    ([id, one]) =>
      (text === "" || `${id} ${one.peek().host ?? ""} ${one.peek().backend}`.toLowerCase().includes(text)) &&
      (only.value === "" || one.value.state === only.value),
  );
  return (
    <section aria-labelledby="instances">
      <h2 id="instances">Instances</h2>
      <div class="filters" role="search">
        <label>
          Find <input type="search" value={filter.value} onInput={(event) => (filter.value = event.currentTarget.value)} />
        </label>
        <label>
          State{" "}
          <select value={only.value} onChange={(event) => (only.value = event.currentTarget.value)}>
            <option value="">all</option>
            {["ready", "loading", "unloaded", "asleep", "failed", "draining"].map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      </div>
      <div class="wide-table" tabIndex={0} role="region" aria-label="Table: Instances">
        <table class="instances">
          <caption class="unseen">Instances, with their state, load, memory and certificate</caption>
          <thead>
            <tr>
              {HEAD.map((one) => (
                <th key={one} scope="col" class={one.startsWith("#") ? "number" : undefined}>
                  {one.replace("#", "")}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {all.map(([id, one]) => (
              <Row key={id} id={id} of={one} />
            ))}
          </tbody>
        </table>
      </div>
      {all.length === 0 ? <p class="dim">None.</p> : null}
    </section>
  );
}

function Homeless() {
  const missing = Object.values(models.value).filter((one) => one.state === "unplaced");
  if (missing.length === 0) return null;
  return (
    <section aria-labelledby="homeless">
      <h2 id="homeless">Models without a place</h2>
      <ul>
        {missing.map((one) => (
          <li key={one.name}>
            <strong>
              <Name of={one.name} />
            </strong>
            : {one.problem ?? "no placement"}
          </li>
        ))}
      </ul>
    </section>
  );
}

function OrderDialog({ order, id }: { order: Order; id: string }) {
  const path = `/admin/instances/${order === "unpin" ? "pin" : order}`;
  const body = { instance: id, ...(order === "unpin" ? { pinned: false } : {}) };
  return <Asked id={id} {...ORDERS[order]} path={path} body={body} what="this instance" onClose={() => (wanted.value = null)} />;
}

export function HousePage() {
  return (
    <>
      <h1>House</h1>
      <Figures />
      <Hosts />
      <Instances />
      <Homeless />
      {wanted.value ? <OrderDialog key={`${wanted.value.order} ${wanted.value.id}`} {...wanted.value} /> : null}
    </>
  );
}
