// Hosts and the memory of their devices; one that sleeps may be woken.
import { signal } from "@preact/signals";
import { hosts, memory } from "../house";
import { bytes, name, visible } from "../text";
import type { Host, Memory } from "../types";
import { Badge, Bar, Name, Note } from "../ui";
import { Asked } from "./asked";

const MOST_DEVICES = 16; // of another host, which may tell of as many as it likes
const toWake = signal<string | null>(null);

function Device({ of, host }: { of: Memory; host?: string }) {
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
      <Bar
        label={`Memory of ${name(of.id)}${host === undefined ? "" : ` at ${name(host)}`}`}
        pieces={pieces.map((one) => ({ ...one, share: one.n / size, words: bytes(one.n) }))} />
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
  const told = of.memory.slice(0, MOST_DEVICES);
  return (
    <li class="card">
      <h3>
        <Name of={of.name} /> <Badge of={of.state} title={of.reason} />
      </h3>
      <p class="small">
        <Name of={of.url} /> {of.version ? `version ${of.version}` : ""}
      </p>
      {of.state === "up" || of.state === "self" ? null : <p class="small">{visible(of.reason)}</p>}
      {of.devices.length > 0 ? <p class="small">{name(of.devices.join(", "), 400)}</p> : null}
      {told.length > 0 ? (
        <ul class="devices narrow">
          {told.map((one) => (
            <Device key={one.id} of={one} host={of.name} />
          ))}
        </ul>
      ) : null}
      {of.memory.length > told.length ? <p class="small dim">and {of.memory.length - told.length} devices more</p> : null}
      {served.length > 0 ? (
        <p class="small">
          {served.length} models, {served.filter(([, one]) => one.state === "ready").length} ready
        </p>
      ) : null}
      {of.unwoken && !of.is_waking ? <Note kind="bad">Not woken: {visible(of.unwoken)}</Note> : null}
      {of.is_waking ? (
        <p class="small" role="status">
          <progress aria-label={`Waking ${name(of.name)}`} /> It is woken…
        </p>
      ) : of.can_wake && of.state === "asleep" ? (
        <button type="button" class="small" aria-label={`Wake ${name(of.name)}`} onClick={() => (toWake.value = of.name)}>
          Wake
        </button>
      ) : null}
    </li>
  );
}

export function Hosts() {
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
      {toWake.value !== null ? <WakeDialog key={toWake.value} host={toWake.value} /> : null}
    </section>
  );
}

function WakeDialog({ host }: { host: string }) {
  const says = "Its network card is told to wake it. Whether it does is its own matter: its firmware and system must allow it.";
  return (
    <Asked
      id={host}
      title="Wake"
      says={says}
      done="is woken"
      path="/admin/hosts/wake"
      body={{ host }}
      what="this host"
      onClose={() => (toWake.value = null)}
    />
  );
}
