/** The entries of the table of verbs, and how requests are encoded into fields. */
import { z } from "zod";
import type { Role } from "./roles.ts";

/**
 * In whose name a request with an agent id is made.
 * - `agent`: the agent's; its id must belong to the sender's key.
 * - `new agent`: the agent's, and it may register the agent; its id must not belong to another key.
 * - `sender`: the sender's own; the request is only about the agent.
 */
export type Speaker = "agent" | "new agent" | "sender";

/** What a request changes, and why a client can safely repeat it when it got no reply. */
export type Changes =
  | "nothing"
  /** The second request finds that everything is done. */
  | "idempotent"
  /** The principal recognizes the second request by this field; a dot leads into an object. */
  | { readonly key: string };

/** How a request gets into the audit log. */
interface Audited<Request> {
  /** What it does, as a stable word such as `run.trigger`. */
  readonly action: string | ((request: Request) => string);
  /** What it does that to: the id of a workflow or a run, the name of a pool. */
  subject(request: Request): string;
  /** Particulars. Never the value of a secret. */
  detail?(request: Request): Readonly<Record<string, unknown>>;
}

/** An entry with any schemas. */
export interface VerbEntry {
  /** What the verb does, in one line without a full stop. */
  readonly about: string;
  /** The roles that may use the verb. */
  readonly roles: readonly Role[];
  /** The request as an object; `fields` says how it is encoded. */
  readonly request: z.ZodObject;
  /** The reply. `null` is encoded as a bare `OK` or `PONG`. */
  readonly reply: z.ZodType;
  /** The outcome of a reply with a payload. Default `SUCCESS`. */
  readonly answers?: "OK" | "SUCCESS" | "PONG";
  readonly changes: Changes;
  /** Required if it changes something; `none` for what no person does: reports of programs, and files that are only prepared. */
  // biome-ignore lint/suspicious/noExplicitAny: stands for the request of any verb.
  readonly audit?: Audited<any> | "none";
  /** Required if the request has an `agent_id`, else not allowed. */
  speaksFor?(request: { readonly agent_id: string }): Speaker;
  /**
   * Names of positional fields in messages, one for each key of the request, in order. A field that is an object is encoded as
   * JSON. Without `fields` the whole request is one JSON field.
   */
  readonly fields?: readonly string[];
  /** The field of a long poll that says how long the reply may wait. */
  readonly waits?: "wait_ms" | "options.wait_ms";
  /** The budget of requests in flight that it counts in. Agents have one of their own. Default `others`. */
  readonly budget?: "agents" | "others";
  /** The first protocol version that has the verb. Default 1. */
  readonly since?: number;
}

type EntryOf<Request extends z.ZodObject, Reply extends z.ZodType, C extends Changes> = Omit<
  VerbEntry,
  "request" | "reply" | "changes" | "audit" | "speaksFor"
> & {
  readonly request: Request;
  readonly reply: Reply;
  readonly changes: C;
} & ("agent_id" extends keyof Request["shape"]
    ? { speaksFor(request: z.output<Request>): Speaker }
    : { speaksFor?: never }) &
  (C extends "nothing" ? { audit?: never } : { audit: Audited<z.output<Request>> | "none" });

/** Type-checks an entry: a request with an agent id does not compile without `speaksFor`, nor one that changes something without `audit`. */
export function verb<Request extends z.ZodObject, Reply extends z.ZodType, const C extends Changes>(
  entry: EntryOf<Request, Reply, C>,
): EntryOf<Request, Reply, C> {
  return entry;
}

/** The part of a request that holds its idempotency key: `{ options: { dedupe_key: … } }` for `options.dedupe_key`. */
export type WithKey<C extends Changes> = C extends { readonly key: infer Path extends string }
  ? Holding<Path>
  : unknown;
type Holding<Path extends string> = Path extends `${infer Outer}.${infer Inner}`
  ? { readonly [K in Outer]: Holding<Inner> }
  : { readonly [K in Path]: NonNullable<unknown> };

/** Whether a positional field is encoded as JSON. */
export function isJsonField(schema: z.ZodType): boolean {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault)
    inner = inner.unwrap() as z.ZodType;
  return inner instanceof z.ZodObject;
}

/** Encodes a request into the fields after the verb; a missing value is an empty field. */
export function fieldsOf({ fields, request }: VerbEntry, value: Readonly<Record<string, unknown>>): string[] {
  if (fields === undefined) return [JSON.stringify(value)];
  return Object.keys(request.shape).map((key) => {
    const field = value[key];
    return typeof field === "object" ? JSON.stringify(field) : String(field ?? "");
  });
}

/** How long the reply to a request may wait, ms; 0 unless the verb is a long poll. */
export function waitOf({ waits }: VerbEntry, request: object): number {
  const wait = waits?.split(".").reduce<unknown>((at, key) => Object(at)[key], request);
  return typeof wait === "number" ? wait : 0;
}
