/** The principal itself: what it is, what happened to it, and how a host joins it. */
import { z } from "zod";
import { Protocol } from "./common.ts";

/** `PRINCIPALINFO`. */
export const PrincipalInfo = z.object({
  principal_id: z.string(),
  version: z.string(),
  protocol: Protocol,
  pid: z.number(),
  started_at_ms: z.number(),
  /** The clock of the principal when it answered; older ones do not tell. */
  now_ms: z.number().optional(),
  host: z.string(),
  api_port: z.number(),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
  workflows: z.number(),
  invalid_workflow_files: z.array(z.object({ path: z.string(), error: z.string() })),
  runs: z.object({ pending: z.number(), running: z.number() }),
  history: z.object({ available: z.boolean(), error: z.string().nullable() }),
});
export type PrincipalInfo = z.infer<typeof PrincipalInfo>;

/** `JOIN`: a new host, connected with a join token, asks that the key pair it made becomes known. */
export const Join = z.object({
  public_key: z.string().length(40),
  /** The name that the key is to have; it gets a number when there is one of that name. */
  name: z.string().min(1).max(128),
});
export type Join = z.infer<typeof Join>;

/** How the key that joined is known, and where the principal's other sockets are. */
export const Joined = z.object({
  name: z.string(),
  role: z.enum(["agent", "client", "admin"]),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
});
export type Joined = z.infer<typeof Joined>;

/** `LSEVENTS`: what the principal did and saw lately, oldest first; `after` is the `seq` of the last one known. */
export const ListEvents = z.object({
  after: z.number().int().nonnegative().optional(),
  limit: z.number().int().min(1).max(1000).default(200),
});
export type ListEvents = z.infer<typeof ListEvents>;

/** Something that happened to the principal itself. `seq` counts from 1 with each start of the principal. */
export const ActivityEvent = z.object({
  seq: z.number().int(),
  timestamp_ms: z.number(),
  /** The part of the principal that says it: `workflows`, `agents`, `history` … */
  kind: z.string(),
  level: z.enum(["INFO", "WARN", "ERROR"]),
  message: z.string(),
});
export type ActivityEvent = z.infer<typeof ActivityEvent>;
