// Parts that pages are made of. Native elements first: they know the keyboard and screen readers.
import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { name } from "./text";

/** A name of a model, host or key, which may be anything, as text. */
export function Name({ of, most = 80 }: { of: string; most?: number }) {
  return (
    <bdi class="name" title={of.length > most ? name(of, 1000) : undefined}>
      {name(of, most)}
    </bdi>
  );
}

const TONES: Record<string, string> = {
  ready: "good",
  up: "good",
  current: "good",
  proven: "good",
  pass: "good",
  loading: "busy",
  starting: "busy",
  draining: "busy",
  stale: "warn",
  asleep: "calm",
  unloaded: "calm",
  none: "calm",
  self: "calm",
  failed: "bad",
  fail: "bad",
  down: "bad",
  unplaced: "bad",
  open: "bad",
  incompatible: "bad",
  unreadable: "bad",
  inconclusive: "warn",
};

export function Badge({ of, children, title }: { of: string; children?: ComponentChildren; title?: string }) {
  return (
    <span class={`badge ${TONES[of] ?? "calm"}`} title={title}>
      {children ?? of}
    </span>
  );
}

export function Note({ kind, children }: { kind: "bad" | "good" | "calm"; children: ComponentChildren }) {
  return (
    <p class={`note ${kind}`} role={kind === "bad" ? "alert" : "status"}>
      {children}
    </p>
  );
}

export interface Piece {
  label: string;
  share: number;
  kind: string;
  words: string;
}

/** A whole as a bar of pieces; what it says stands below it as text, too. */
export function Bar({ label, pieces }: { label: string; pieces: Piece[] }) {
  return (
    <div class="bar" role="img" aria-label={`${label}: ${pieces.map((one) => `${one.label} ${one.words}`).join(", ")}`}>
      {pieces.map((one) => (
        <span key={one.label} class={one.kind} style={{ width: `${Math.max(0, one.share * 100)}%` }} />
      ))}
    </div>
  );
}

export function Dialog(of: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    ref.current?.showModal();
  }, []);
  return (
    <dialog ref={ref} class={of.wide ? "wide" : ""} aria-labelledby="dialog-title" onClose={of.onClose}>
      <header>
        <h2 id="dialog-title">{of.title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick={() => ref.current?.close()}>
          ✕
        </button>
      </header>
      {of.children}
    </dialog>
  );
}

const said = signal("");

/** Say *words* to those who do not see the page change. */
export function say(words: string): void {
  said.value = words;
}

export function Said() {
  return (
    <div class="unseen" aria-live="polite">
      {said.value}
    </div>
  );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      say("Copied");
    } catch {
      say("The browser does not let the page copy");
    }
  };
  return (
    <button type="button" class="small" onClick={copy}>
      {done ? "Copied" : label}
    </button>
  );
}

let fields = 0;

export function useId(prefix: string): string {
  const [id] = useState(() => `${prefix}-${(fields += 1)}`);
  return id;
}

export function Field(of: {
  label: string;
  hint?: ComponentChildren;
  children: (id: string, describedBy: string | undefined) => ComponentChildren;
}) {
  const id = useId("field");
  return (
    <div class="field">
      <label for={id}>{of.label}</label>
      {of.children(id, of.hint ? `${id}-hint` : undefined)}
      {of.hint ? (
        <p class="hint" id={`${id}-hint`}>
          {of.hint}
        </p>
      ) : null}
    </div>
  );
}

/** One line of text that a page asks for; what else is given goes to the element. */
export function TextField({
  label,
  hint,
  value,
  onChange,
  ...rest
}: {
  label: string;
  hint?: ComponentChildren;
  value: string;
  onChange: (value: string) => void;
} & Omit<JSX.InputHTMLAttributes, "label" | "value" | "onChange">) {
  return (
    <Field label={label} hint={hint}>
      {(id, describedBy) => (
        <input
          autocomplete="off"
          {...rest}
          id={id}
          aria-describedby={describedBy}
          value={value}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

/** A table; heads that begin with # stand over figures. */
export function Table({ caption, head, children }: { caption: string; head: string[]; children: ComponentChildren }) {
  return (
    <div class="wide-table" tabIndex={0} role="region" aria-label={`Table: ${caption}`}>
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {head.map((one) => (
              <th key={one} scope="col" class={one.startsWith("#") ? "number" : undefined}>
                {one.replace("#", "")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
