// Keys and their limits, where they are kept in the database.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { ask, words } from "../api";
import { day } from "../text";
import type { Key } from "../types";
import { Badge, Copy, Dialog, Name, Note, Table, TextField } from "../ui";

export const keys = signal<Key[]>([]);
const problem = signal("");
const asked = signal<{ kind: "new" } | { kind: "revoke" | "rotate" | "limits"; of: Key } | null>(null);
const LIMITS = ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "concurrent_requests"];

async function refresh(): Promise<void> {
  try {
    keys.value = (await ask<{ keys: Key[] }>("/admin/keys")).keys;
    problem.value = "";
  } catch (error) {
    problem.value = words(error);
  }
}

function stateOf(one: Key): string {
  const now = Date.now() / 1000;
  if (one.revoked_at !== undefined) return "revoked";
  return one.expires_at !== undefined && one.expires_at <= now ? "expired" : "good";
}

function limitsOf(given: Record<string, string>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(given)
      .filter(([, text]) => text !== "")
      .map(([limit, text]) => [limit, Number(text)]),
  );
}

function Limits({ given, onChange }: { given: Record<string, string>; onChange: (given: Record<string, string>) => void }) {
  return (
    <>
      {LIMITS.map((limit) => (
        <TextField
          key={limit}
          label={limit}
          hint="nothing sets none"
          type="number"
          min={1}
          step={1}
          value={given[limit] ?? ""}
          onChange={(text) => onChange({ ...given, [limit]: text })}
        />
      ))}
    </>
  );
}

function Asked({ of }: { of: NonNullable<typeof asked.value> }) {
  const [called, setCalled] = useState("");
  const [isAdmin, setAdmin] = useState(false);
  const before = of.kind === "limits" ? Object.fromEntries(Object.entries(of.of.limits ?? {}).map(([k, v]) => [k, String(v)])) : {};
  const [limits, setLimits] = useState<Record<string, string>>(before);
  const [secret, setSecret] = useState("");
  const [wrong, setWrong] = useState("");
  const close = () => {
    asked.value = null;
  };
  const title = { new: "Make a key", revoke: "Revoke the key", rotate: "Rotate the key", limits: "Limits of the key" }[of.kind];
  const give = async (event: Event) => {
    event.preventDefault();
    try {
      const made = await (of.kind === "new"
        ? ask<Key>("/admin/keys", { name: called, admin: isAdmin, limits: limitsOf(limits) })
        : of.kind === "limits"
          ? ask<Key>("/admin/limits", { name: of.of.name, limits: limitsOf(limits) })
          : ask<Key>(`/admin/keys/${of.kind}`, { name: of.of.name }));
      await refresh();
      if (made.secret) setSecret(made.secret);
      else close();
    } catch (error) {
      setWrong(words(error));
    }
  };
  if (secret)
    return (
      <Dialog title={title} onClose={close}>
        <p>This is the key. It is shown this once, and stored nowhere.</p>
        <pre tabIndex={0} aria-label="The key">
          {secret}
        </pre>
        <Copy text={secret} />
      </Dialog>
    );
  return (
    <Dialog title={title} onClose={close}>
      <form onSubmit={give}>
        {of.kind === "new" ? (
          <>
            <TextField label="Name" required value={called} onChange={setCalled} />
            <label>
              <input type="checkbox" checked={isAdmin} onChange={(event) => setAdmin(event.currentTarget.checked)} /> admin: may use
              this console
            </label>
          </>
        ) : (
          <p>
            <Name of={of.of.name} />
            {of.kind === "revoke" ? ": it lets nobody in any more, at once and for good." : null}
            {of.kind === "rotate" ? ": it gets a new secret, and the old one is good no more." : null}
          </p>
        )}
        {of.kind === "new" || of.kind === "limits" ? <Limits given={limits} onChange={setLimits} /> : null}
        {wrong ? <Note kind="bad">{wrong}</Note> : null}
        <div class="buttons">
          <button type="submit" class="primary">
            {title}
          </button>
          <button type="button" onClick={close}>
            Leave it
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function Keys() {
  useEffect(() => {
    void refresh();
  }, []);
  return (
    <section aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      {problem.value ? <Note kind="bad">{problem.value}</Note> : null}
      <div class="buttons">
        <button type="button" onClick={() => (asked.value = { kind: "new" })}>
          Make a key
        </button>
      </div>
      <Table caption="Keys" head={["Name", "State", "Made", "For", "Limits", "Orders"]}>
        {keys.value.map((one) => (
          <tr key={one.name}>
            <th scope="row">
              <Name of={one.name} most={40} />
              {one.admin ? <span class="small"> admin</span> : null}
            </th>
            <td>
              <Badge of={stateOf(one) === "good" ? "ready" : "none"}>{stateOf(one)}</Badge>
            </td>
            <td>{day(one.created_at)}</td>
            <td>{[...(one.models ?? ["all models"]), ...(one.endpoints ?? []), ...(one.profiles ?? [])].join(", ")}</td>
            <td>
              {Object.entries(one.limits ?? {})
                .map(([limit, most]) => `${limit} ${most}`)
                .join(", ") || "–"}
            </td>
            <td class="actions">
              {stateOf(one) === "good"
                ? (["limits", "rotate", "revoke"] as const).map((kind) => (
                    <button
                      key={kind}
                      type="button"
                      class="small"
                      aria-label={`${kind} ${one.name}`}
                      onClick={() => (asked.value = { kind, of: one })}
                    >
                      {kind}
                    </button>
                  ))
                : null}
            </td>
          </tr>
        ))}
      </Table>
      {asked.value ? <Asked of={asked.value} /> : null}
    </section>
  );
}
