/** The roles of keys, and the sockets of a secured principal that each may use. verbs.ts has the verbs that each may use. */

/** Roles that a key can be given. */
export const CLIENT_ROLES = ["agent", "viewer", "client", "admin"] as const;
export type ClientRole = (typeof CLIENT_ROLES)[number];

/** A join token has a role too: it may only join. */
export type Role = ClientRole | "join";

export const ANYBODY: readonly Role[] = ["agent", "viewer", "client", "admin"];
/** Read, and change nothing. */
export const READER: readonly Role[] = ["viewer", "client", "admin"];
/** Trigger runs, and what else changes runs and workflows. */
export const CLIENT: readonly Role[] = ["client", "admin"];
/** Execute runs and report. */
export const AGENT: readonly Role[] = ["agent", "admin"];
export const ADMIN: readonly Role[] = ["admin"];
export const JOIN_TOKEN: readonly Role[] = ["join"];

/** The sockets of a principal. */
export type SocketName = "api" | "logs-listening" | "logs-publishing";

/** Who may connect to which socket. */
export const SOCKET_ROLES: Readonly<Record<SocketName, readonly Role[]>> = {
  api: ["agent", "viewer", "client", "admin", "join"],
  "logs-listening": AGENT,
  "logs-publishing": READER,
};
