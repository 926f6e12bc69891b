/** What each verb and each socket of a secured principal asks of a key: the one table of rights. */
import type { Verb } from "./verbs.ts";

/** Roles that a key can be given. */
export const CLIENT_ROLES = ["agent", "client", "admin"] as const;
export type ClientRole = (typeof CLIENT_ROLES)[number];

/** Also that of a join token, which may do nothing but join. */
export type Role = ClientRole | "join";

const ANYBODY: readonly Role[] = ["agent", "client", "admin"];
/** Triggers and reads. */
const CLIENT: readonly Role[] = ["client", "admin"];
/** Takes work and reports. */
const AGENT: readonly Role[] = ["agent", "admin"];
const ADMIN: readonly Role[] = ["admin"];

/** Who may ask for what. */
export const VERB_ROLES: Readonly<Record<Verb, readonly Role[]>> = {
  PING: ANYBODY,
  PRINCIPALINFO: ANYBODY,
  JOIN: ["join"],

  REGISTERAGENT: AGENT,
  FETCHWORKFLOW: AGENT,
  AGENTWORKFLOWSTATUS: AGENT,
  AGENTTASKSTATUS: AGENT,
  AGENTHEARTBEAT: AGENT,
  AGENTREPORT: AGENT,

  LSWORKFLOWS: CLIENT,
  RUNTASK: CLIENT,
  QUERYLOGS: CLIENT,
  GETRECENTSTATUSES: CLIENT,
  GETREGISTEREDAGENTS: CLIENT,
  GETWORKFLOW: CLIENT,
  WATCHWORKFLOWS: CLIENT,
  LSRUNS: CLIENT,
  GETRUN: CLIENT,
  WAITRUN: CLIENT,
  CANCELRUN: CLIENT,
  RETRYRUN: CLIENT,
  SEARCHLOGS: CLIENT,
  ISSUBSCRIBED: CLIENT,
  LSEVENTS: CLIENT,
  LSFOLLOWUPS: CLIENT,
  REPORTLISTENERS: CLIENT,
  LSLISTENERS: CLIENT,
  QUERYDB: CLIENT,
  EXPORTDB: CLIENT,
  BACKUPDB: CLIENT,
  READFILE: CLIENT,
  DROPFILES: CLIENT,

  DRAINAGENT: ADMIN,
};

/** The sockets of a principal. */
export type SocketName = "api" | "logs-listening" | "logs-publishing";

/** Who may connect to which socket. */
export const SOCKET_ROLES: Readonly<Record<SocketName, readonly Role[]>> = {
  api: ["agent", "client", "admin", "join"],
  "logs-listening": AGENT,
  "logs-publishing": CLIENT,
};
