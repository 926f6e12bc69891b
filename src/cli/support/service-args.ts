/** What the commands below `cdktr service` share. */
import type { ArgsDef } from "citty";
import { UsageError } from "../../errors.ts";
import { ROLES, type Role } from "../../systemd/unit.ts";

export const roleArg = {
  role: { type: "positional", required: true, description: "principal or agent" },
} as const satisfies ArgsDef;

export const userArg = {
  user: { type: "boolean", description: "A service of this user (systemctl --user), not of the host" },
} as const satisfies ArgsDef;

/** @throws UsageError when it is none */
export function roleOf(text: string): Role {
  const role = ROLES.find((name) => name === text);
  if (role !== undefined) return role;
  throw new UsageError(`There is no service '${text}'.`, { hint: `Services: ${ROLES.join(", ")}.` });
}

/** @throws UsageError when a service of the host is to be changed by somebody else than root */
export function requireRoot(user: boolean, what: string): void {
  if (user || process.getuid?.() === 0) return;
  throw new UsageError(`Only root can ${what} a service of the host.`, {
    hint: "Use sudo, or --user for a service of your own.",
  });
}
