// Reports of the conformance suite, as its canonical JSON has them.

export interface RuleResult {
  rule: string;
  level: string;
  verdict: string;
  message?: string;
  expected?: string;
  seen?: string;
  notes?: string[];
  duration_s?: number;
}

export interface Report {
  report_version: number;
  started_at: string;
  duration_s: number;
  target: { kind: string; address: string; model: string; server?: string | null; hardware?: string | null };
  profile: string;
  selection: string;
  suite: { name: string; version: string };
  summary: { conforms: string; partial: boolean; must: Tally; should: Tally; may: Tally; verdicts: Record<string, number> };
  results: RuleResult[];
}

interface Tally {
  passed: number;
  total: number;
}

/** The report in *text*; throws where it is none. */
export function readReport(text: string): Report {
  const found = JSON.parse(text) as Partial<Report> | null;
  const isReport =
    isObject(found) &&
    isObject(found.target) &&
    isObject(found.suite) &&
    isObject(found.summary) &&
    [found.summary.must, found.summary.should, found.summary.verdicts].every(isObject) &&
    Array.isArray(found.results) &&
    found.results.every((each) => isObject(each) && typeof each.rule === "string" && typeof each.verdict === "string");
  if (!isReport)
    throw new Error("This is no report of the conformance suite: its report.json is.");
  return found as Report;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function sectionOf(rule: string): string {
  return rule.replace(/\d+[a-z]?$/, "");
}

export function tally(report: Report): string {
  const { must, should } = report.summary;
  return `MUST ${must.passed} of ${must.total}, SHOULD ${should.passed} of ${should.total}`;
}

export interface Difference {
  rule: string;
  before: RuleResult | undefined;
  after: RuleResult | undefined;
}

/** The rules whose verdicts differ, or that only one of the two has. */
export function differences(before: Report, after: Report): Difference[] {
  const one = new Map(before.results.map((each) => [each.rule, each]));
  const other = new Map(after.results.map((each) => [each.rule, each]));
  return [...new Set([...one.keys(), ...other.keys()])]
    .filter((rule) => one.get(rule)?.verdict !== other.get(rule)?.verdict)
    .sort()
    .map((rule) => ({ rule, before: one.get(rule), after: other.get(rule) }));
}
