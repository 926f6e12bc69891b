/** `LSPRINCIPALS`: the principals of an installation. */
import { z } from "zod";
import { Protocol } from "./common.ts";

/**
 * What a principal is in its installation.
 * - `single`: the only one; its state is in its own data directory
 * - `leader`: the one of several that does the work
 * - `follower`: forwards requests to the leader, and takes its place when it is gone
 * - `joining`: is starting, or was cut off from the store: it cannot take the leader's place now
 * - `changing`: takes the leader's place at the moment, or gives it up
 * - `silent`: was not heard of for a while
 */
const MEMBER_ROLES = ["single", "leader", "follower", "joining", "changing", "silent"] as const;
export type MemberRole = (typeof MEMBER_ROLES)[number];

/** One of the principals of an installation. */
export const PrincipalSummary = z.object({
  name: z.string(),
  /** The one that answers. */
  is_self: z.boolean(),
  role: z.enum(MEMBER_ROLES),
  /** How the others and clients reach it. */
  host: z.string(),
  api_port: z.number(),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
  version: z.string(),
  protocol: Protocol,
  started_at_ms: z.number(),
  /** Since when it has its role; null if that is not known. */
  since_ms: z.number().nullable(),
  /** How long ago it was heard of, ms; 0 for the one that answers. */
  silent_ms: z.number(),
  /** The number of its term, of the leader; it grows with each change of the leader. Null for others. */
  epoch: z.number().nullable(),
  /** How far its copy of the state is behind the leader's; null if it has none. */
  lag: z.object({ commits: z.number(), ms: z.number() }).nullable(),
  /** Whether its workflow files are the same as the leader's; null if that is not known. */
  same_workflows: z.boolean().nullable(),
  /** How long its commits to the store took lately, ms; null without a store, or without commits. */
  store: z.object({ p50_ms: z.number(), p99_ms: z.number() }).nullable(),
  /** What is wrong with it; null if nothing is known to be. */
  problem: z.string().nullable(),
});
export type PrincipalSummary = z.infer<typeof PrincipalSummary>;
