// Whether an answer is what a schema asks for. The validator compiles nothing, as the page's policy wants it.
import { type Schema, Validator } from "@cfworker/json-schema";
import { parse } from "./api";

const MOST_SHOWN = 5;

export function schemaProblem(text: string): string {
  if (text.trim() === "") return "";
  const found = parse(text);
  if ("problem" in found) return found.problem;
  return typeof found.value === "object" && found.value !== null && !Array.isArray(found.value) ? "" : "an object is needed";
}

export type Verdict = { state: "valid" } | { state: "growing" } | { state: "wrong"; problems: string[] };

export function judge(schema: string, answer: string): Verdict | null {
  if (schema.trim() === "" || schemaProblem(schema) !== "") return null;
  const read = parse(answer);
  if ("problem" in read) return { state: "growing" };
  try {
    const { valid, errors } = new Validator(JSON.parse(schema) as Schema, "2020-12", false).validate(read.value);
    if (valid) return { state: "valid" };
    return { state: "wrong", problems: errors.slice(0, MOST_SHOWN).map((one) => `${one.instanceLocation}: ${one.error}`) };
  } catch (error) {
    return { state: "wrong", problems: [error instanceof Error ? error.message : String(error)] };
  }
}
