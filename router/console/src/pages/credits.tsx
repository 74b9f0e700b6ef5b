// Credit of keys: what each has, and grants, withdrawals and budgets, each said once more before it is done.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, words } from "../api";
import { day, name, visible } from "../text";
import type { Credit, CreditEntry } from "../types";
import { Dialog, Name, Note, say, Table, TextField, useId } from "../ui";
import { keys } from "./keys";

type Change = "grant" | "withdraw" | "budget";
const all = signal<Credit[]>([]);
const problem = signal("");
const wanted = signal<{ kind: Change | "history"; key: string } | null>(null);
const TITLES: Record<Change | "history", string> = {
  grant: "Grant credit",
  withdraw: "Withdraw credit",
  budget: "Monthly budget",
  history: "What changed the credit",
};
const AMOUNT = "[0-9]+([.][0-9]+)?";

async function refresh(): Promise<void> {
  try {
    all.value = (await ask<{ keys: Credit[] }>("/admin/credits")).keys;
    problem.value = "";
  } catch (error) {
    problem.value = words(error);
  }
}

function said(kind: Change, amount: string, of: Credit | undefined): string {
  const before = of === undefined ? "It never had credit." : `It has ${of.balance}.`;
  if (kind === "grant") return `${before} It gets ${amount} more, and pays from then on for what it uses.`;
  if (kind === "withdraw") return `${before} ${amount} of it are taken back.`;
  return amount === "" ? "It may spend as much as it has." : `It may spend ${amount} in a calendar month, and what it has at most.`;
}

function ChangeDialog({ kind, given }: { kind: Change; given: string }) {
  const [key, setKey] = useState(given);
  const [amount, setAmount] = useState("");
  const [isSure, setSure] = useState(false);
  const [isSent, setSent] = useState(false);
  const [wrong, setWrong] = useState("");
  const [reference, setReference] = useState(() => `console ${crypto.randomUUID?.() ?? Math.random()}`); // the same order twice is one
  const listId = useId("keys");
  const go = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (isSure) go.current?.focus(); // what had the focus is gone
  }, [isSure]);
  const close = () => (wanted.value = null);
  const known = new Set([...all.value.map((one) => one.key), ...keys.value.map((one) => one.name)]);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!isSure) {
      setWrong("");
      setSure(true);
      return;
    }
    setSent(true);
    try {
      const body = kind === "budget" ? { key, monthly: amount === "" ? null : amount } : { key, amount, reference };
      const now = await ask<Credit>(`/admin/credits/${kind}`, body);
      say(`${name(now.key)} has ${now.balance}`);
      await refresh();
      close();
    } catch (error) {
      setWrong(words(error));
      setSure(false);
      setSent(false);
    }
  };
  return (
    <Dialog title={TITLES[kind]} onClose={close}>
      <form onSubmit={submit}>
        {isSure ? (
          <>
            <p>
              <Name of={key} most={200} />
            </p>
            <Note kind="calm">{said(kind, amount, all.value.find((one) => one.key === key))}</Note>
          </>
        ) : (
          <>
            <TextField
              label="Key"
              hint="its name, or anonymous for requests without one"
              list={listId}
              required
              maxLength={200}
              value={key}
              onChange={setKey}
            />
            <datalist id={listId}>
              {[...known].slice(0, 200).map((one) => (
                <option key={one} value={one} />
              ))}
            </datalist>
            <TextField
              label="Credits"
              hint={kind === "budget" ? "in a calendar month of UTC; nothing sets none" : "such as 12.50"}
              required={kind !== "budget"}
              inputMode="decimal"
              pattern={AMOUNT}
              maxLength={40}
              value={amount}
              onChange={setAmount}
            />
            {kind === "budget" ? null : (
              <TextField
                label="Reference"
                hint="kept beside the entry; said again with the same amount it changes nothing"
                required
                maxLength={200}
                value={reference}
                onChange={setReference}
              />
            )}
          </>
        )}
        {wrong ? <Note kind="bad">{visible(wrong)}</Note> : null}
        <div class="buttons">
          <button key={isSure ? "sure" : "go on"} type="submit" class="primary" disabled={isSent} ref={go}>
            {isSure ? TITLES[kind] : "Go on"}
          </button>
          {isSure ? (
            <button type="button" onClick={() => setSure(false)}>
              Change it
            </button>
          ) : null}
          <button type="button" onClick={close}>
            Leave it
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function History({ of }: { of: string }) {
  const [entries, setEntries] = useState<CreditEntry[] | null>(null);
  const [wrong, setWrong] = useState("");
  useEffect(() => {
    ask<{ entries: CreditEntry[] }>(`/admin/credits/history?last=100&key=${encodeURIComponent(of)}`)
      .then((told) => setEntries(told.entries))
      .catch((error: unknown) => setWrong(words(error)));
  }, []);
  return (
    <Dialog title={TITLES.history} onClose={() => (wanted.value = null)} wide>
      <p>
        <Name of={of} most={200} />, its last entries
      </p>
      {wrong ? <Note kind="bad">{visible(wrong)}</Note> : null}
      <Table caption="Entries" head={["Day", "Kind", "#Credits", "#Requests", "Reference"]}>
        {(entries ?? []).map((one) => (
          <tr key={one.number}>
            <td>{day(one.at)}</td>
            <th scope="row">{one.kind}</th>
            <td class="number">{one.amount}</td>
            <td class="number">{one.requests ?? "–"}</td>
            <td>{one.reference === null ? "–" : <Name of={one.reference} />}</td>
          </tr>
        ))}
      </Table>
    </Dialog>
  );
}

export function Credits() {
  useEffect(() => {
    void refresh();
  }, []);
  const asked = wanted.value;
  return (
    <section aria-labelledby="credits">
      <h2 id="credits">Credits</h2>
      {problem.value ? <Note kind="bad">{problem.value}</Note> : null}
      <p class="dim">A key pays from its first grant on. Amounts are exact decimal numbers.</p>
      <div class="buttons">
        <button type="button" onClick={() => (wanted.value = { kind: "grant", key: "" })}>
          Grant credit
        </button>
        <button type="button" onClick={() => void refresh()}>
          Look again
        </button>
      </div>
      <Table caption="Credits" head={["Key", "#Balance", "#Leased to routers", "#Spent this month", "#Monthly budget", "Orders"]}>
        {all.value.map((one) => (
          <tr key={one.key}>
            <th scope="row">
              <Name of={one.key} most={40} />
            </th>
            <td class="number">{one.balance}</td>
            <td class="number">{one.leased}</td>
            <td class="number">{one.spent}</td>
            <td class="number">{one.monthly ?? "–"}</td>
            <td class="actions">
              {(["grant", "withdraw", "budget", "history"] as const).map((kind) => (
                <button
                  key={kind}
                  type="button"
                  class="small"
                  aria-label={`${kind} ${name(one.key)}`}
                  onClick={() => (wanted.value = { kind, key: one.key })}
                >
                  {kind}
                </button>
              ))}
            </td>
          </tr>
        ))}
      </Table>
      {asked === null ? null : asked.kind === "history" ? (
        <History key={asked.key} of={asked.key} />
      ) : (
        <ChangeDialog key={`${asked.kind} ${asked.key}`} kind={asked.kind} given={asked.key} />
      )}
    </section>
  );
}
