// What the routes answer that the console reads; units stand in the names.

export interface Session {
  version: string;
  needs_key: boolean;
  has_keys: boolean;
  has_accounts: boolean;
  has_docs: boolean;
  chat_path: string;
  models_path: string;
}

export interface Standing {
  state: string;
  reason: string;
  certified_at: string | null;
  proven: number;
  declared: number;
}

export interface Instance {
  id: string;
  model: string;
  backend: string;
  source: string;
  devices: string[];
  placement: string;
  state: string;
  reason: string;
  progress: { stage: string; fraction: number | null } | null;
  running: number;
  waiting: number;
  capacity: number;
  pinned: boolean;
  held: boolean;
  restarts: number;
  breaker: string;
  tokens_s: number | null;
  cache_used: number | null;
  memory_bytes: Record<string, number>;
  host: string | null;
  footprint_bytes: Record<string, number>;
  standing: Standing | null;
  aside: string | null;
  answers: string;
}

export interface Memory {
  id: string;
  size_bytes: number;
  limit_bytes: number | null;
  reserve_bytes: number;
  others_bytes: number;
  reserved_bytes: number;
  measured_bytes: number;
  free_bytes: number;
  words: string;
}

export interface Model {
  name: string;
  state: string;
  problem: string | null;
  task: string | null;
  trust: string;
  description: string;
}

export interface Use {
  requests: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
}

export interface Host {
  name: string;
  url: string;
  state: string;
  reason: string;
  can_wake: boolean;
  version: string | null;
  devices: string[];
  memory: Memory[];
  is_waking: boolean;
  unwoken: string;
  models: Record<string, { state: string; running: number; waiting: number; capacity: number }>;
}

export interface House {
  version: string;
  state: string;
  requests: number;
  models: Record<string, Model>;
  instances: Record<string, Instance>;
  use: Record<string, Use>;
  memory: Record<string, Memory>;
  hosts: Record<string, Host>;
}

export interface Foreseen {
  fits: boolean;
  gives_way: string[];
  reason: string;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface ModelCard {
  id: string;
  description: string;
  context_length: number | null;
  task: string | null;
  features: string[];
  declared_features: string[];
  proven_features: string[];
  trust: string;
  limits: Record<string, number>;
  defaults: Record<string, Json>;
  defaults_from: Record<string, string>;
  defaults_refused: Record<string, string>;
  state: string;
  certificate: { state: string; reason: string; certified_at: string | null; unproven: Record<string, string> } | null;
}

export interface Explained {
  model: string;
  instance: string | null;
  refusal: string | null;
  considered: { instance: string; host: string | null; could: boolean; reason: string }[];
  asked: { param: string; feature: string; had_by: string[] }[];
  honoured: string[];
  reported: string[];
  recorded: string[];
}

export interface EndedRequest {
  number: number;
  at: number;
  id: string;
  endpoint: string;
  model: string;
  instance: string | null;
  key: string | null;
  status: number;
  stream: boolean;
  cancelled: boolean;
  queue_s: number;
  ttft_s: number | null;
  duration_s: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  reasoning_tokens: number;
  finish: string[];
  error: string | null;
  ignored: string[];
  cost: string | null;
}

export interface Histogram {
  bounds: number[];
  counts: number[];
}

export interface Requests {
  number: number;
  requests: EndedRequest[];
  use: ({ key: string; model: string; failed: number; reasoning_tokens: number; cost: string | null } & Use)[];
  errors: { status: number; code: string; requests: number }[];
  times: { model: string; duration: Histogram; ttft: Histogram }[];
}

export interface Key {
  name: string;
  created_at: number;
  expires_at?: number;
  revoked_at?: number;
  models?: string[];
  endpoints?: string[];
  profiles?: string[];
  admin?: boolean;
  limits?: Record<string, number>;
  secret?: string;
}

export interface Credit {
  key: string;
  balance: string;
  leased: string;
  monthly: string | null;
  month: string;
  spent: string;
}

export interface CreditEntry {
  number: number;
  at: number;
  kind: string;
  amount: string;
  requests: number | null;
  reference: string | null;
}

export interface UsageTotal {
  key?: string | null;
  model?: string;
  day?: string;
  requests: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  reasoning_tokens: number;
  cost: string;
}
