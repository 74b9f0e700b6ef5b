// The console: who may look, where one is, and the page that is there.
import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, key, Refused, remember, session, words } from "./api";
import { feed, start, stop } from "./house";
import { Boundary } from "./markdown";
import { ExplainPage } from "./pages/explain";
import { HousePage } from "./pages/house";
import { PlaygroundPage } from "./pages/playground";
import { ProofPage } from "./pages/proof";
import { RequestsPage } from "./pages/requests";
import "./style.css";
import type { Session } from "./types";
import { Badge, Field, Note, Said } from "./ui";

const PAGES = {
  house: { title: "House", page: HousePage },
  playground: { title: "Playground", page: PlaygroundPage },
  explain: { title: "Explain", page: ExplainPage },
  requests: { title: "Requests", page: RequestsPage },
  proof: { title: "Proof", page: ProofPage },
};
type Place = keyof typeof PAGES;

function here(): Place {
  const wanted = location.hash.replace(/^#\/?/, "").split("?")[0] ?? "";
  return Object.hasOwn(PAGES, wanted) ? (wanted as Place) : "house";
}

const place = signal<Place>(here());
const refused = signal<{ status: number; code: string; message: string } | null>(null);
addEventListener("hashchange", () => {
  place.value = here();
});

async function enter(): Promise<void> {
  try {
    session.value = await ask<Session>("/console/session");
    refused.value = null;
  } catch (error) {
    session.value = null;
    const { status, code } = error instanceof Refused ? error : { status: 0, code: "" };
    refused.value = { status, code, message: words(error) };
  }
}

function Login() {
  const [given, setGiven] = useState("");
  const [problem, setProblem] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    remember(given.trim());
    await enter();
    if (session.value === null) {
      setProblem(refused.value?.message ?? "");
      remember(null);
    }
  };
  return (
    <main class="login" id="main">
      <h1>Enginehouse</h1>
      <p>The console is for keys with admin scope. The key stays in this tab until you log out or close it.</p>
      <form onSubmit={submit}>
        <Field label="API key">
          {(id) => (
            <input
              id={id}
              type="password"
              autocomplete="off"
              required
              value={given}
              onInput={(event) => setGiven(event.currentTarget.value)}
            />
          )}
        </Field>
        {problem ? <Note kind="bad">{problem}</Note> : null}
        <button type="submit" class="primary">
          Log in
        </button>
      </form>
    </main>
  );
}

function Closed({ message }: { message: string }) {
  return (
    <main class="login" id="main">
      <h1>Enginehouse</h1>
      <Note kind="bad">{message}</Note>
      <button type="button" onClick={() => void enter()}>
        Try again
      </button>
    </main>
  );
}

const THEMES = ["auto", "light", "dark"] as const;
const theme = signal(localStorage.getItem("enginehouse.theme") ?? "auto");
effect(() => {
  localStorage.setItem("enginehouse.theme", theme.value);
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});

function Shell({ session: now }: { session: Session }) {
  const current = PAGES[place.value];
  useEffect(() => {
    const look = () => (document.hidden ? stop() : start()); // a page that nobody sees is told nothing
    look();
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      stop();
    };
  }, []);
  useEffect(() => {
    document.title = `${current.title} – Enginehouse`;
  }, [current]);
  const Page = current.page;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <header class="top">
        <span class="brand">Enginehouse</span>
        <nav aria-label="Pages">
          {Object.entries(PAGES).map(([name, { title }]) => (
            <a key={name} href={`#/${name}`} aria-current={name === place.value ? "page" : undefined}>
              {title}
            </a>
          ))}
          {now.has_docs ? <a href="/docs">API</a> : null}
        </nav>
        <span class="right">
          {feed.value === "lost" ? <Badge of="down">no connection</Badge> : null}
          <label class="theme">
            <span class="unseen">Colours</span>
            <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value)}>
              {THEMES.map((one) => (
                <option key={one} value={one}>
                  {one}
                </option>
              ))}
            </select>
          </label>
          {key.value !== null ? (
            <button
              type="button"
              class="small"
              onClick={() => {
                remember(null);
                session.value = null;
                void enter();
              }}
            >
              Log out
            </button>
          ) : null}
        </span>
      </header>
      <main id="main" tabIndex={-1}>
        <Boundary of={place.value} instead={<Note kind="bad">This page could not be drawn. Load it again.</Note>}>
          <Page />
        </Boundary>
      </main>
      <footer>Enginehouse {now.version}</footer>
      <Said />
    </>
  );
}

function App() {
  if (session.value !== null) return <Shell session={session.value} />;
  if (refused.value === null) return <p class="boot">…</p>;
  // Of a server with keys another one may do; of one without there is none.
  const needsKey = refused.value.status === 401 || refused.value.code === "key_not_allowed" || key.value !== null;
  return needsKey ? <Login /> : <Closed message={refused.value.message} />;
}

const root = document.getElementById("app");
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
  void enter();
}
