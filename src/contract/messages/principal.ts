/** The principal itself: what it is, what happened to it, and how a host joins it. */
import { z } from "zod";
import { CLIENT_ROLES } from "../roles.ts";
import { Protocol } from "./common.ts";

/** Where others reach a member of an installation with several principals. */
export const MemberAddress = z.object({
  name: z.string(),
  host: z.string(),
  api_port: z.number(),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
});
export type MemberAddress = z.infer<typeof MemberAddress>;

export const PrincipalInfo = z.object({
  principal_id: z.string(),
  /** Random; unchanged by restarts. Older principals do not send it. */
  installation_id: z.string().optional(),
  version: z.string(),
  protocol: Protocol,
  pid: z.number(),
  started_at_ms: z.number(),
  /** The principal's clock when it answered; older principals do not send it. */
  now_ms: z.number().optional(),
  host: z.string(),
  api_port: z.number(),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
  workflows: z.number(),
  invalid_workflow_files: z.array(
    z.object({
      path: z.string(),
      error: z.string(),
      /** Of settings of a directory: number of workflows that are not loaded because of them. */
      waiting: z.number().optional(),
    }),
  ),
  runs: z.object({ pending: z.number(), running: z.number() }),
  history: z.object({ available: z.boolean(), error: z.string().nullable() }),
  /** The files of runs that it keeps; absent if it has none and nothing is wrong. Older principals keep none. */
  files: z
    .object({
      /** Number of archives. */
      archives: z.number(),
      bytes: z.number(),
      limit_bytes: z.number(),
      /** Where they are: a directory or a bucket. */
      place: z.string(),
      /** Why that cannot be read; null if it can. */
      error: z.string().nullable(),
    })
    .optional(),
  /** Why the state cannot be read: `runs`, and the positions of schedules, are then those that were read last. Null if it can. */
  state_error: z.string().nullable().optional(),
  /**
   * The name of the member that the client is connected to: `host` and the ports above are those of this member, whichever answers.
   * Absent, as is `members`, when the installation has one principal only.
   */
  member: z.string().optional(),
  /** The members that can be reached, this one included. */
  members: z.array(MemberAddress).optional(),
});
export type PrincipalInfo = z.infer<typeof PrincipalInfo>;

/** `JOIN`: a new host, connected with a join token, registers the key pair that it made. */
export const Join = z.object({
  public_key: z.string().length(40),
  /** The name for the key; a number is appended when the name is taken. */
  name: z.string().min(1).max(128),
});
export type Join = z.infer<typeof Join>;

/** The name and role of the new key, and the ports of the principal's other sockets. */
export const Joined = z.object({
  name: z.string(),
  role: z.enum(CLIENT_ROLES),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
});
export type Joined = z.infer<typeof Joined>;

/** `LSEVENTS`: recent events of the principal, oldest first; `after` is the last `seq` that the client knows. */
export const ListEvents = z.object({
  after: z.number().int().nonnegative().optional(),
  limit: z.number().int().min(1).max(1000).default(200),
});
export type ListEvents = z.infer<typeof ListEvents>;

/** An event of the principal itself. `seq` counts from 1 in every process. */
export const ActivityEvent = z.object({
  seq: z.number().int(),
  timestamp_ms: z.number(),
  /** The part of the principal that logged it: `workflows`, `agents`, `history` … */
  kind: z.string(),
  level: z.enum(["INFO", "WARN", "ERROR"]),
  message: z.string(),
});
export type ActivityEvent = z.infer<typeof ActivityEvent>;
