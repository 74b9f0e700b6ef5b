// Texts of others: names and answers may hold anything, and are shown as text that moves nothing around it.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** `text` with what cannot be seen, or would turn its surroundings, made visible; line feeds and tabs stay. */
export function visible(text: string): string {
  return text.replace(/\r\n/g, "\n").replace(HIDDEN, (one) => {
    const code = one.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** A name on one line, cut in the middle where it is long. */
export function name(text: string, most = 80): string {
  const line = visible(text).replace(/[\n\t]/g, "␤");
  return line.length <= most ? line : `${line.slice(0, most - 12)}…${line.slice(-11)}`;
}

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

export function count(n: number): string {
  return n.toLocaleString("en");
}

export function seconds(s: number | null): string {
  if (s === null) return "–";
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  return s < 100 ? `${s.toFixed(s < 10 ? 2 : 1)} s` : `${Math.round(s)} s`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

export function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

export function day(at: number): string {
  return new Date(at * 1000).toISOString().slice(0, 10);
}
