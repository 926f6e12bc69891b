/** What an entry of the table of verbs says, and how its request is written into the fields of a frame. */
import { z } from "zod";
import type { Role } from "./roles.ts";

/**
 * In whose name a request speaks that has an agent id.
 * - `agent`: in the agent's. Its id must belong to the sender's key.
 * - `new agent`: in the agent's, and it may be what registers the agent. The id must not belong to another key.
 * - `sender`: in the sender's own. The agent is only what the request is about.
 */
export type Speaker = "agent" | "new agent" | "sender";

/** What a request changes, and why a client may repeat it when no reply came. */
export type Changes =
  | "nothing"
  /** The second request finds done what it asks for. */
  | "idempotent"
  /** The principal recognizes the second request by the value of a field; `options.x` is a field within a field. */
  | { readonly key: string };

/** An entry, whatever its schemas are. */
export interface VerbEntry {
  /** What the verb does, in a line. */
  readonly about: string;
  /** The roles of a key that may use it. */
  readonly roles: readonly Role[];
  /** What comes in, as an object; see `fields` for how it travels. */
  readonly request: z.ZodObject;
  /** What goes out. `null` travels as a bare `OK`, or `PONG`. */
  readonly reply: z.ZodType;
  /** How a reply with a payload begins. Default `SUCCESS`. */
  readonly answers?: "OK" | "SUCCESS" | "PONG";
  readonly changes: Changes;
  /** Given by exactly the verbs whose request has an `agent_id`. */
  speaksFor?(request: { readonly agent_id: string }): Speaker;
  /**
   * Names of positional fields, one for each key of the request in order, as messages call them. A field that is an object
   * travels as JSON. Without them the request travels as one field of JSON.
   */
  readonly fields?: readonly string[];
  /** The field that says how long the reply may wait, of a long poll. */
  readonly waits?: "wait_ms" | "options.wait_ms";
  /** Whose budget of waiting requests it counts in: agents must be heard however many clients ask. Default `others`. */
  readonly budget?: "agents" | "others";
  /** The first version of the protocol that has it. Default 1. */
  readonly since?: number;
}

type EntryOf<Request extends z.ZodObject, Reply extends z.ZodType> = Omit<
  VerbEntry,
  "request" | "reply" | "speaksFor"
> & {
  readonly request: Request;
  readonly reply: Reply;
} & ("agent_id" extends keyof Request["shape"]
    ? { speaksFor(request: z.output<Request>): Speaker }
    : { speaksFor?: never });

/** Checks an entry: one whose request has an agent id does not compile without saying in whose name it speaks. */
export function verb<Request extends z.ZodObject, Reply extends z.ZodType>(
  entry: EntryOf<Request, Reply>,
): EntryOf<Request, Reply> {
  return entry;
}

/** Whether a positional field travels as JSON. */
export function isJsonField(schema: z.ZodType): boolean {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault)
    inner = inner.unwrap() as z.ZodType;
  return inner instanceof z.ZodObject;
}

/** The fields of a request, after its verb; a field without a value is empty. */
export function fieldsOf({ fields, request }: VerbEntry, value: Readonly<Record<string, unknown>>): string[] {
  if (fields === undefined) return [JSON.stringify(value)];
  return Object.keys(request.shape).map((key) => {
    const field = value[key];
    return typeof field === "object" ? JSON.stringify(field) : String(field ?? "");
  });
}

/** How long the reply to a request may wait, ms; 0 for one that is no long poll. */
export function waitOf({ waits }: VerbEntry, request: object): number {
  const wait = waits?.split(".").reduce<unknown>((at, key) => Object(at)[key], request);
  return typeof wait === "number" ? wait : 0;
}
