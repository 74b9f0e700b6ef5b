// Code in colours: Prism's patterns make a tree of it, and elements are made of that, never markup.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { refractor } from "refractor/core";
import bash from "refractor/bash";
import c from "refractor/c";
import cpp from "refractor/cpp";
import csharp from "refractor/csharp";
import css from "refractor/css";
import diff from "refractor/diff";
import go from "refractor/go";
import java from "refractor/java";
import javascript from "refractor/javascript";
import json from "refractor/json";
import markup from "refractor/markup";
import python from "refractor/python";
import rust from "refractor/rust";
import sql from "refractor/sql";
import toml from "refractor/toml";
import typescript from "refractor/typescript";
import yaml from "refractor/yaml";

for (const one of [bash, c, cpp, csharp, css, diff, go, java, javascript, json, markup, python, rust, sql, toml, typescript, yaml])
  refractor.register(one);

const MOST_COLOURED = 6_000;
const LONGEST_LINE = 500;
const DEEPEST = 40;
const RESTS_MS = 150; // while an answer comes, what grows is not read again with each piece
const MOST_MS = 100; // patterns may take longer than text is long: a language that once did is left alone
const slow = new Set<string>();

const OTHER_NAMES: Record<string, string> = { console: "bash", "c++": "cpp", zsh: "bash", jsonc: "json", jsonl: "json", golang: "go" };
const KINDS: Record<string, string> = {
  keyword: "word", boolean: "word", atrule: "word", important: "word", rule: "word", null: "word",
  string: "text", char: "text", "attr-value": "text", regex: "text", "template-string": "text", inserted: "text", url: "text",
  comment: "remark", prolog: "remark", doctype: "remark", cdata: "remark", shebang: "remark", coord: "remark",
  number: "value", constant: "value", symbol: "value", date: "value", entity: "value",
  function: "name", "class-name": "name", tag: "name", builtin: "name", selector: "name", table: "name", macro: "name",
  property: "key", "attr-name": "key", variable: "key", key: "key", parameter: "key", decorator: "key", annotation: "key",
  deleted: "gone",
}; // prettier-ignore

interface Piece {
  type: string;
  value?: string;
  properties?: { className?: unknown };
  children?: Piece[];
}

function languageOf(said: string): string | null {
  const name = said.trim().toLowerCase().split(/[\s{,:]/)[0] ?? "";
  const known = Object.hasOwn(OTHER_NAMES, name) ? (OTHER_NAMES[name] ?? name) : name;
  return refractor.registered(known) ? known : null;
}

function read(text: string, language: string): Piece[] | null {
  if (text.length > MOST_COLOURED || slow.has(language)) return null;
  if (text.split("\n").some((line) => line.length > LONGEST_LINE)) return null;
  const began = performance.now();
  try {
    const { children } = refractor.highlight(text, language) as Piece;
    return children === undefined || isDeeper(children, DEEPEST) ? null : children;
  } catch {
    return null;
  } finally {
    if (performance.now() - began > MOST_MS) slow.add(language);
  }
}

function isDeeper(pieces: Piece[], levels: number): boolean {
  if (levels === 0) return pieces.length > 0;
  return pieces.some((one) => isDeeper(one.children ?? [], levels - 1));
}

function drawn(pieces: Piece[]): ComponentChildren {
  return pieces.map((one, at) => {
    if (one.type === "text") return one.value;
    const inner = drawn(one.children ?? []);
    const names = Array.isArray(one.properties?.className) ? (one.properties.className as string[]) : [];
    const kind = names.map((name) => (Object.hasOwn(KINDS, name) ? KINDS[name] : undefined)).find((found) => found !== undefined);
    return kind === undefined ? <>{inner}</> : <span key={at} class={`code-${kind}`}>{inner}</span>;
  });
}

/** `text`, coloured as `said` names its language, once it grows no more; as it is where that would be too much work. */
export function Coloured({ text, said }: { text: string; said: string }) {
  const [seen, setSeen] = useState<{ text: string; pieces: Piece[] } | null>(null);
  const language = languageOf(said);
  useEffect(() => {
    if (language === null) return undefined;
    const timer = setTimeout(() => {
      const pieces = read(text, language);
      setSeen(pieces === null ? null : { text, pieces });
    }, RESTS_MS);
    return () => clearTimeout(timer);
  }, [text, language]);
  return <code>{seen !== null && seen.text === text && language !== null ? drawn(seen.pieces) : text}</code>;
}
