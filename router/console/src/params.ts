// What a request may say beside its messages: ranges as the API has them (a test compares them with its document), and
// the feature without which a model refuses it.
import type { Json, ModelCard } from "./types";

export interface Param {
  name: string;
  kind: "number" | "integer" | "text" | "choice";
  least?: number;
  most?: number;
  above?: number;
  step?: number;
  choices?: string[];
  feature?: string;
  says: string;
}

export const PARAMS: Param[] = [
  { name: "temperature", kind: "number", least: 0, most: 2, step: 0.1, says: "0 is greedy" },
  { name: "top_p", kind: "number", least: 0, most: 1, step: 0.05, says: "share of probability to sample from" },
  { name: "top_k", kind: "integer", least: -1, most: 2147483647, feature: "top_k", says: "sample among the k likeliest; 0 is off" },
  { name: "min_p", kind: "number", least: 0, most: 1, step: 0.01, feature: "min_p", says: "leave out what is below this share of the likeliest" },
  { name: "max_completion_tokens", kind: "integer", least: 1, most: 2147483647, says: "most tokens of the answer" },
  { name: "min_tokens", kind: "integer", least: 0, most: 2147483647, feature: "min_tokens", says: "the model does not end before" },
  { name: "seed", kind: "integer", feature: "seed", says: "the same seed gives the same answer" },
  { name: "frequency_penalty", kind: "number", least: -2, most: 2, step: 0.1, feature: "frequency_penalty", says: "per earlier use of a token" },
  { name: "presence_penalty", kind: "number", least: -2, most: 2, step: 0.1, feature: "presence_penalty", says: "for tokens already in the answer" },
  { name: "repetition_penalty", kind: "number", above: 0, most: 2, step: 0.05, feature: "repetition_penalty", says: "multiplicative; 1 is off" },
  { name: "stop", kind: "text", feature: "stop", says: "a string that ends the answer" },
  { name: "reasoning_effort", kind: "choice", choices: ["none", "minimal", "low", "medium", "high", "xhigh", "max"], feature: "reasoning_effort", says: "for models that reason" },
  { name: "top_logprobs", kind: "integer", least: 0, most: 20, feature: "logprobs", says: "alternatives per token; colours the answer" },
];

/** What *text*, typed for *param*, says: its value, nothing, or what is wrong. */
export function valueOf(param: Param, text: string): { value?: Json; problem?: string } {
  if (text === "") return {};
  if (param.kind === "text" || param.kind === "choice") return { value: text };
  const value = Number(text);
  if (!Number.isFinite(value)) return { problem: "a number is needed" };
  if (param.kind === "integer" && !Number.isInteger(value)) return { problem: "a whole number is needed" };
  if (param.least !== undefined && value < param.least) return { problem: `at least ${param.least}` };
  if (param.above !== undefined && value <= param.above) return { problem: `above ${param.above}` };
  if (param.most !== undefined && value > param.most) return { problem: `at most ${param.most}` };
  return { value };
}

export function range(param: Param): string {
  if (param.least === undefined && param.above === undefined) return "";
  const from = param.above !== undefined ? `above ${param.above}` : `${param.least}`;
  return param.most === 2147483647 ? `from ${from}` : `${from} to ${param.most}`;
}

/** The default of *param* for a model, and where it is from. */
export function defaultOf(param: Param, card: ModelCard | undefined): string {
  const found = card?.defaults[param.name] ?? (param.name === "max_completion_tokens" ? card?.defaults.max_tokens : undefined);
  if (found === undefined || found === null) return "";
  const from = card?.defaults_from[param.name] ?? card?.defaults_from.max_tokens ?? "api";
  return `${typeof found === "string" ? found : JSON.stringify(found)} by the ${from === "api" ? "API" : from}`;
}

/** Whether a model is known to lack what *param* needs. */
export function isLacking(param: Param, card: ModelCard | undefined): boolean {
  return param.feature !== undefined && card !== undefined && card.features.length > 0 && !card.features.includes(param.feature);
}
