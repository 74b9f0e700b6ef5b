// The last request of the playground, which the page that explains can take over. It is kept in this tab alone.
import { signal } from "@preact/signals";
import type { Json } from "./types";

export const lastRequest = signal<{ [key: string]: Json } | null>(null);
