// What is proven: certificates and reports, rule by rule; a run that is started here; two reports compared.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask, headers, refusal, words } from "../api";
import { models } from "../house";
import { differences, readReport, type Report, type RuleResult, sectionOf, tally } from "../reports";
import { name, seconds, visible } from "../text";
import { Badge, Field, Name, Note, say, Table } from "../ui";

interface Kept {
  name: string;
  model: string;
  started_at: string;
  duration_s: number;
  selection: string;
}

interface Run {
  model: string;
  selection: string;
  started_at: number;
  state: "running" | "certified" | "failed" | "stopped";
  done: number;
  total: number;
  report: string | null;
  lines: string[];
}

interface Certified {
  model: string;
  source: string;
  backend: string;
  engine: string;
  engine_version: string | null;
  devices: string[];
  suite: string | null;
  certified_at: string;
  duration_s: number;
  selection: string;
  general: string;
  features: Record<string, string>;
  seen: Record<string, string>;
  instances: string[];
}

interface Proof {
  certificates: Certified[];
  unreadable: Record<string, string>;
  reports: Kept[];
  run: Run | null;
  problem: string | null;
}

interface Opened {
  name: string;
  report: Report;
  requirements: Record<string, string>;
}

const proof = signal<Proof | null>(null);
const run = signal<Run | null>(null);
const problem = signal(""); // with what somebody has done here
const lost = signal(""); // with looking at what the server has: the next look may take it away
const model = signal("");
const isQuick = signal(true);
const opened = signal<Opened[]>([]); // at most two: the second is compared with the first
const only = signal("not passed");
const EVERY_MS = 1000;

async function refresh(): Promise<void> {
  try {
    proof.value = await ask<Proof>("/admin/certificates");
    run.value = proof.value.run;
    lost.value = "";
  } catch (error) {
    lost.value = words(error);
  }
}

async function follow(): Promise<void> {
  if (run.value?.state !== "running" || document.hidden) return;
  try {
    run.value = await ask<Run | null>("/admin/certify");
    if (run.value?.state !== "running") {
      say("The run has ended");
      await refresh();
    }
  } catch (error) {
    lost.value = words(error);
  }
}

async function order(path: string, body?: unknown): Promise<void> {
  try {
    run.value = await ask<Run>(path, body ?? "{}");
    problem.value = "";
  } catch (error) {
    problem.value = words(error);
  }
}

async function file(name: string, part: string): Promise<Blob> {
  const answer = await fetch(`/admin/reports/${name}/${part}`, { headers: headers() });
  if (!answer.ok) throw await refusal(answer);
  return answer.blob();
}

async function download(name: string, part: string): Promise<void> {
  try {
    const url = URL.createObjectURL(await file(name, part));
    const link = document.createElement("a");
    link.href = url;
    link.download = `${name}-${part}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (error) {
    problem.value = words(error);
  }
}

function put(one: Opened): void {
  opened.value = [...opened.value.filter((other) => other.name !== one.name), one].slice(-2);
}

async function open(name: string): Promise<void> {
  try {
    const report = readReport(await (await file(name, "report.json")).text());
    const requirements = await file(name, "requirements.json")
      .then((found) => found.text())
      .then((text) => JSON.parse(text) as Record<string, string>)
      .catch(() => ({}));
    put({ name, report, requirements });
  } catch (error) {
    problem.value = words(error);
  }
}

async function read(files: FileList | null): Promise<void> {
  for (const each of files ?? []) {
    try {
      put({ name: each.name, report: readReport(await each.text()), requirements: {} });
      problem.value = "";
    } catch (error) {
      problem.value = `${each.name}: ${words(error)}`;
    }
  }
}

function RunForm() {
  const now = run.value;
  const names = Object.keys(models.value);
  const wanted = model.value || names[0] || "";
  const isRunning = now?.state === "running";
  return (
    <section aria-labelledby="run">
      <h2 id="run">Prove a model</h2>
      {proof.value?.problem ? (
        <Note kind="calm">{proof.value.problem}</Note>
      ) : (
        <form
          class="filters"
          onSubmit={(event) => {
            event.preventDefault();
            void order("/admin/certify", { model: wanted, quick: isQuick.value });
          }}
        >
          <label for="proven">Model</label>
            <select id="proven" value={wanted} onChange={(event) => (model.value = event.currentTarget.value)}>
              {names.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          <label>
            <input type="checkbox" checked={isQuick.value} onChange={(event) => (isQuick.value = event.currentTarget.checked)} /> quick
            core
          </label>
          <button type="submit" class="primary" disabled={isRunning}>
            Certify
          </button>
          {isRunning ? (
            <button type="button" onClick={() => void order("/admin/certify/stop")}>
              Stop the run
            </button>
          ) : null}
        </form>
      )}
      <p class="hint">The model is loaded a second time for it, beside the one that serves. All rules take minutes.</p>
      {now ? (
        <div class="card" aria-live="off">
          <p>
            <Name of={now.model} /> <Badge of={{ running: "loading", certified: "ready", failed: "failed", stopped: "none" }[now.state]}>{now.state}</Badge>{" "}
            {now.total > 0 ? `${now.done} of ${now.total} rules` : isRunning ? "loading" : ""}
          </p>
          {isRunning ? <progress aria-label="Rules that have ended" {...(now.total > 0 ? { max: now.total, value: now.done } : {})} /> : null}
          <details>
            <summary>What it says</summary>
            <pre tabIndex={0} aria-label="What the run says">
              {now.lines.map(visible).join("\n")}
            </pre>
          </details>
        </div>
      ) : null}
    </section>
  );
}

function Certificates({ of }: { of: Certified[] }) {
  return (
    <section aria-labelledby="certificates">
      <h2 id="certificates">Certificates</h2>
      {of.length === 0 ? <p class="dim">None yet.</p> : null}
      {of.map((one) => (
        <details class="card" key={`${one.model} ${one.certified_at}`}>
          <summary>
            <Name of={one.model} /> by {one.engine} {one.engine_version ?? ""}, {one.certified_at.slice(0, 16).replace("T", " ")}{" "}
            {one.instances.length > 0 ? <Badge of="current">current for {one.instances.join(", ")}</Badge> : <Badge of="none">for no instance here</Badge>}
          </summary>
          <p class="small">
            {one.selection === "all" ? "all rules" : "the quick core"} of suite {one.suite}, {seconds(one.duration_s)}; {one.source} on{" "}
            {one.devices.join(", ") || "no device"}; rules that need no feature: {one.general}
          </p>
          <Table caption={`Features of ${one.model}`} head={["Feature", "What the suite found"]}>
            {Object.entries(one.features).map(([feature, found]) => (
              <tr key={feature}>
                <th scope="row">{feature}</th>
                <td>
                  <Badge of={found.split(" ")[0] ?? ""}>{found}</Badge>
                </td>
              </tr>
            ))}
          </Table>
          {Object.keys(one.seen).length > 0 ? (
            <Table caption={`What was seen of ${one.model}`} head={["Rule", "What was seen"]}>
              {Object.entries(one.seen).map(([rule, seen]) => (
                <tr key={rule}>
                  <th scope="row">{rule}</th>
                  <td>{seen}</td>
                </tr>
              ))}
            </Table>
          ) : null}
        </details>
      ))}
    </section>
  );
}

function Reports({ of }: { of: Kept[] }) {
  return (
    <section aria-labelledby="reports">
      <h2 id="reports">Reports</h2>
      <Field label="Open report.json files of the suite" hint="They are read in the browser, and sent nowhere.">
        {(id, describedBy) => (
          <input
            id={id}
            aria-describedby={describedBy}
            type="file"
            accept=".json"
            multiple
            onChange={(event) => void read(event.currentTarget.files)}
          />
        )}
      </Field>
      {of.length > 0 ? (
        <Table caption="Reports that are kept" head={["Model", "Begun", "Rules", "#Took", "Orders"]}>
          {of.map((one) => (
            <tr key={one.name}>
              <th scope="row">
                <Name of={one.model} />
              </th>
              <td>{one.started_at.slice(0, 16).replace("T", " ")}</td>
              <td>{name(one.selection, 40)}</td>
              <td class="number">{seconds(one.duration_s)}</td>
              <td class="actions">
                <button type="button" class="small" aria-label={`Open ${one.name}`} onClick={() => void open(one.name)}>
                  Open
                </button>
                {["report.json", "report.html", "badge.svg"].map((part) => (
                  <button key={part} type="button" class="small" aria-label={`${part} of ${one.name}`} onClick={() => void download(one.name, part)}>
                    {part}
                  </button>
                ))}
              </td>
            </tr>
          ))}
        </Table>
      ) : null}
    </section>
  );
}

const isShown = (one: RuleResult) =>
  only.value === "all" || (only.value === "not passed" ? one.verdict !== "pass" && one.verdict !== "unsupported" && one.verdict !== "skipped" : one.verdict === only.value);

function Rules({ of }: { of: Opened }) {
  const { report, requirements } = of;
  const sections = Map.groupBy(report.results.filter(isShown), (one) => sectionOf(one.rule));
  return (
    <section aria-labelledby="rules">
      <h2 id="rules">
        <Name of={report.target.model} />: {tally(report)}
      </h2>
      <p class="small">
        {of.name}; suite {report.suite.version}, {name(report.selection, 60)}, {report.started_at.slice(0, 16).replace("T", " ")}, {seconds(report.duration_s)};{" "}
        {Object.entries(report.summary.verdicts)
          .map(([verdict, n]) => `${n} ${verdict}`)
          .join(", ")}
      </p>
      <label>
        Show{" "}
        <select value={only.value} onChange={(event) => (only.value = event.currentTarget.value)}>
          {["not passed", "all", ...Object.keys(report.summary.verdicts)].map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      {sections.size === 0 ? <p class="dim">No such rule.</p> : null}
      {[...sections.entries()].map(([section, results]) => (
        <div key={section}>
          <h3>{section}</h3>
          <Table caption={`Rules of ${section}`} head={["Rule", "Level", "Verdict", "What it asks for, and what was seen"]}>
            {results.map((one) => (
              <tr key={one.rule}>
                <th scope="row">{one.rule}</th>
                <td>{one.level}</td>
                <td>
                  <Badge of={one.verdict} />
                </td>
                <td>
                  {requirements[one.rule] ? <p class="small">{requirements[one.rule]}</p> : null}
                  {one.message ? <p class="small">{one.message}</p> : null}
                  {one.expected ? <p class="small">expected: {one.expected}</p> : null}
                  {one.seen ? <p class="small">seen: {one.seen}</p> : null}
                </td>
              </tr>
            ))}
          </Table>
        </div>
      ))}
    </section>
  );
}

function Compared({ before, after }: { before: Opened; after: Opened }) {
  const found = differences(before.report, after.report);
  return (
    <section aria-labelledby="compared">
      <h2 id="compared">Compared</h2>
      <p>
        <Name of={before.name} /> ({tally(before.report)}) and <Name of={after.name} /> ({tally(after.report)}): {found.length} rules differ.
      </p>
      {found.length > 0 ? (
        <Table caption="Rules that differ" head={["Rule", "First", "Second", "What was seen"]}>
          {found.map((one) => (
            <tr key={one.rule}>
              <th scope="row">{one.rule}</th>
              <td>{one.before ? <Badge of={one.before.verdict} /> : <span class="dim">not there</span>}</td>
              <td>{one.after ? <Badge of={one.after.verdict} /> : <span class="dim">not there</span>}</td>
              <td class="small">{one.after?.message || one.before?.message}</td>
            </tr>
          ))}
        </Table>
      ) : null}
    </section>
  );
}

export function ProofPage() {
  useEffect(() => {
    void refresh();
    const timer = setInterval(() => void follow(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const [first, second] = opened.value;
  return (
    <>
      <h1>Proof</h1>
      <p>What the conformance suite has found of the models here, and of others whose reports you open.</p>
      {[problem.value, lost.value].map((each, at) => (each ? <Note key={at} kind="bad">{each}</Note> : null))}
      <RunForm />
      {proof.value ? <Certificates of={proof.value.certificates} /> : null}
      {Object.entries(proof.value?.unreadable ?? {}).map(([file, why]) => (
        <Note key={file} kind="bad">
          {file}: {why}
        </Note>
      ))}
      <Reports of={proof.value?.reports ?? []} />
      {first && second ? <Compared before={first} after={second} /> : null}
      {second ? <Rules of={second} /> : first ? <Rules of={first} /> : null}
      {first ? (
        <button type="button" onClick={() => (opened.value = [])}>
          Close the reports
        </button>
      ) : null}
    </>
  );
}
