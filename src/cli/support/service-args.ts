/** Shared by the commands of `cdktr service`. */
import type { ArgsDef } from "citty";
import { UsageError } from "../../errors.ts";
import { INSTANCE_NAME, ROLES, type Role, type ServiceId } from "../../systemd/service-id.ts";

export const roleArg = {
  role: { type: "positional", required: true, description: "principal, agent or listeners" },
} as const satisfies ArgsDef;

export const nameArg = {
  name: {
    type: "string",
    valueHint: "NAME",
    description: "Which agent, if the host has several: its id is HOST-NAME",
  },
} as const satisfies ArgsDef;

export const userArg = {
  user: { type: "boolean", description: "A user service (systemctl --user) instead of a system service" },
} as const satisfies ArgsDef;

/**
 * The service that the arguments refer to.
 * @throws UsageError when there is no such service
 */
export function serviceOf(args: {
  readonly role: string;
  readonly name?: string | undefined;
  readonly user?: boolean | undefined;
}): ServiceId {
  const role = roleOf(args.role);
  const { name, user = false } = args;
  if (name === undefined) return { role, user };
  if (role !== "agent") throw new UsageError(`Only agents have names: a host has one ${role}.`);
  if (!INSTANCE_NAME.test(name)) {
    throw new UsageError(
      `--name ${name}: expected letters, digits, '_', '-' and '.', at most 64, the first a letter or a digit.`,
    );
  }
  return { role, name, user };
}

function roleOf(text: string): Role {
  const role = ROLES.find((name) => name === text);
  if (role !== undefined) return role;
  throw new UsageError(`There is no service '${text}'.`, { hint: `Services: ${ROLES.join(", ")}.` });
}

/** @throws UsageError when a user other than root wants to change a system service */
export function requireRoot(user: boolean, what: string): void {
  if (user || process.getuid?.() === 0) return;
  throw new UsageError(`Only root can ${what} a system service.`, {
    hint: "Use sudo, or --user for a user service.",
  });
}
