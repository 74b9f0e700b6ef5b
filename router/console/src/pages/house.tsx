// The house: hosts, memory, and every instance with what it does and what may be done with it.
import { computed, signal, type Signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { ask, words } from "../api";
import { hosts, instances, memory, models, requests, requestsPerS, state, useOf } from "../house";
import { bytes, count, percent } from "../text";
import type { Foreseen, Host, Instance, Memory } from "../types";
import { Badge, Bar, Dialog, Name, Note, say } from "../ui";

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

function Device({ of }: { of: Memory }) {
  const size = of.size_bytes || 1;
  const unused = Math.max(0, of.reserved_bytes - of.measured_bytes);
  const rest = Math.max(0, size - of.reserved_bytes - of.others_bytes - of.free_bytes);
  const pieces = [
    { label: "in use", kind: "used", n: Math.min(of.measured_bytes, of.reserved_bytes) },
    { label: "reserved", kind: "reserved", n: unused },
    { label: "others", kind: "others", n: of.others_bytes },
    { label: "kept free", kind: "kept", n: rest },
    { label: "free", kind: "free", n: of.free_bytes },
  ];
  return (
    <li class="device">
      <strong>
        <Name of={of.id} />
      </strong>{" "}
      {bytes(of.size_bytes)}
      <Bar label={`Memory of ${of.id}`} pieces={pieces.map((one) => ({ ...one, share: one.n / size, words: bytes(one.n) }))} />
      <ul class="legend">
        {pieces.map((one) => (
          <li key={one.label}>
            <span class={`dot ${one.kind}`} aria-hidden="true" />
            {one.label} {bytes(one.n)}
          </li>
        ))}
      </ul>
    </li>
  );
}

function HostCard({ of }: { of: Host }) {
  const served = Object.entries(of.models);
  return (
    <li class="card">
      <h3>
        <Name of={of.name} /> <Badge of={of.state} title={of.reason} />
      </h3>
      <p class="small">
        <Name of={of.url} /> {of.version ? `version ${of.version}` : ""}
      </p>
      {of.state === "up" || of.state === "self" ? null : <p class="small">{of.reason}</p>}
      {of.devices.length > 0 ? <p class="small">{of.devices.join(", ")}</p> : null}
      {served.length > 0 ? (
        <p class="small">
          {served.length} models, {served.filter(([, one]) => one.state === "ready").length} ready
        </p>
      ) : null}
    </li>
  );
}

function Hosts() {
  const others = Object.values(hosts.value).filter((one) => one.state !== "self");
  return (
    <section aria-labelledby="hosts">
      <h2 id="hosts">Hosts</h2>
      <ul class="cards">
        <li class="card own">
          <h3>This host</h3>
          <ul class="devices">
            {Object.values(memory.value).map((one) => (
              <Device key={one.id} of={one} />
            ))}
          </ul>
        </li>
        {others.map((one) => (
          <HostCard key={one.name} of={one} />
        ))}
      </ul>
    </section>
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

const HEAD = ["Instance", "State", "Where", "#Running", "#Waiting", "#Tokens/s", "#Cached", "#Memory", "Certificate", "Orders"];

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
  const [foreseen, setForeseen] = useState<Foreseen | null>(null);
  const [problem, setProblem] = useState("");
  const [isSent, setSent] = useState(false);
  const { title, says, done } = ORDERS[order];
  const path = `/admin/instances/${order === "unpin" ? "pin" : order}`;
  const body = { instance: id, ...(order === "unpin" ? { pinned: false } : {}) };
  useEffect(() => {
    ask<{ foreseen: Record<string, Foreseen> }>(path, { ...body, dry_run: true })
      .then((told) => setForeseen(told.foreseen[id] ?? null))
      .catch((error: unknown) => setProblem(words(error)));
  }, []);
  const close = () => {
    wanted.value = null;
  };
  const give = async () => {
    setSent(true);
    try {
      await ask(path, body);
      say(`${id} ${done}`);
      close();
    } catch (error) {
      setProblem(words(error));
      setSent(false);
    }
  };
  return (
    <Dialog title={`${title} ${id.length > 40 ? "this instance" : id}`} onClose={close}>
      <p>
        <Name of={id} most={200} />
      </p>
      <p>{says}</p>
      {foreseen === null ? (
        <p class="dim">{problem ? "" : "Asking what it would come to…"}</p>
      ) : foreseen.gives_way.length > 0 ? (
        <Note kind="bad">
          For it gives way:{" "}
          {foreseen.gives_way.map((one, at) => (
            <span key={one}>
              {at > 0 ? ", " : ""}
              <Name of={one} />
            </span>
          ))}
          . {foreseen.reason}
        </Note>
      ) : (
        <Note kind={foreseen.fits ? "calm" : "bad"}>{foreseen.reason}</Note>
      )}
      {problem ? <Note kind="bad">{problem}</Note> : null}
      <div class="buttons">
        <button type="button" class="primary" disabled={isSent || (foreseen === null && problem === "")} onClick={give}>
          {title}
        </button>
        <button type="button" onClick={close}>
          Leave it
        </button>
      </div>
    </Dialog>
  );
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
