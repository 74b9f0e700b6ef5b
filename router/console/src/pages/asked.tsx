// An order: what it would come to is asked and said before it is given.
import { useEffect, useState } from "preact/hooks";
import { ask, words } from "../api";
import { name, visible } from "../text";
import type { Foreseen, Json } from "../types";
import { Dialog, Name, Note, say } from "../ui";

interface Question {
  id: string;
  title: string;
  says: string;
  done: string;
  path: string;
  body: Record<string, Json>;
  what: string;
  onClose: () => void;
}

/** Asks what an order would come to, says so, and gives it. */
export function Asked({ id, title, says, done, path, body, what, onClose }: Question) {
  const [foreseen, setForeseen] = useState<Foreseen | null>(null);
  const [problem, setProblem] = useState("");
  const [isSent, setSent] = useState(false);
  useEffect(() => {
    ask<{ foreseen: Record<string, Foreseen> }>(path, { ...body, dry_run: true })
      .then((told) => setForeseen(told.foreseen[id] ?? null))
      .catch((error: unknown) => setProblem(words(error)));
  }, []);
  const give = async () => {
    setSent(true);
    try {
      await ask(path, body);
      say(`${name(id)} ${done}`);
      onClose();
    } catch (error) {
      setProblem(words(error));
      setSent(false);
    }
  };
  return (
    <Dialog title={`${title} ${id.length > 40 ? what : name(id)}`} onClose={onClose}>
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
          . {visible(foreseen.reason)}
        </Note>
      ) : (
        <Note kind={foreseen.fits ? "calm" : "bad"}>{visible(foreseen.reason)}</Note>
      )}
      {problem ? <Note kind="bad">{problem}</Note> : null}
      <div class="buttons">
        <button type="button" class="primary" disabled={isSent || (foreseen === null && problem === "")} onClick={give}>
          {title}
        </button>
        <button type="button" onClick={onClose}>
          Leave it
        </button>
      </div>
    </Dialog>
  );
}
