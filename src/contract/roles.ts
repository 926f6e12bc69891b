/** The roles of keys, and which sockets of a secured principal each may use. Which verbs each may use is in verbs.ts. */

/** Roles that a key can be given. */
export const CLIENT_ROLES = ["agent", "client", "admin"] as const;
export type ClientRole = (typeof CLIENT_ROLES)[number];

/** Also that of a join token, which may do nothing but join. */
export type Role = ClientRole | "join";

export const ANYBODY: readonly Role[] = ["agent", "client", "admin"];
/** Triggers and reads. */
export const CLIENT: readonly Role[] = ["client", "admin"];
/** Takes work and reports. */
export const AGENT: readonly Role[] = ["agent", "admin"];
export const ADMIN: readonly Role[] = ["admin"];
export const JOIN_TOKEN: readonly Role[] = ["join"];

/** The sockets of a principal. */
export type SocketName = "api" | "logs-listening" | "logs-publishing";

/** Who may connect to which socket. */
export const SOCKET_ROLES: Readonly<Record<SocketName, readonly Role[]>> = {
  api: ["agent", "client", "admin", "join"],
  "logs-listening": AGENT,
  "logs-publishing": CLIENT,
};
