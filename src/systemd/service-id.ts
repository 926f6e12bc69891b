/** The services that cdktr can be on a host: their names, and where their files stand. */
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";

/** What can be a service. */
export const ROLES = ["principal", "agent", "listeners"] as const;
export type Role = (typeof ROLES)[number];

/** Whom a service of the host runs as, if nothing else is said. */
export const DEFAULT_USER = "cdktr";

/** One service. */
export interface ServiceId {
  readonly role: Role;
  /** Tells several agents of one host apart: the suffix of the agent's id. */
  readonly name?: string;
  /** One of the user's own systemd, instead of the host's. */
  readonly user: boolean;
}

/** How names of agents look: they are parts of file names, of agent ids, and of unit names as systemd takes them. */
export const INSTANCE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** `principal`, `agent`, `agent-NAME`. */
export function serviceName({ role, name }: ServiceId): string {
  return name === undefined ? role : `${role}-${name}`;
}

/** Name of its unit. */
export function unitName(service: ServiceId): string {
  return `cdktr-${serviceName(service)}.service`;
}

/** Where its unit file stands. */
export function unitPath(service: ServiceId, home: string): string {
  return join(unitDirectory(service.user, home), unitName(service));
}

/** Where its settings stand. */
export function environmentPath(service: ServiceId, home: string): string {
  return join(service.user ? join(home, ".config/cdktr") : "/etc/cdktr", `${serviceName(service)}.env`);
}

/**
 * The name of its directories below /var/lib and /var/cache: one for each user, since systemd gives them to the user of the unit
 * that starts.
 */
export function stateDirectoryName(runAs: string): string {
  return runAs === DEFAULT_USER ? "cdktr" : `cdktr-${runAs}`;
}

/** Where a service of the host keeps its data. */
export function stateDirectory(runAs: string): string {
  return `/var/lib/${stateDirectoryName(runAs)}`;
}

/** Every service that there may be: one of each role, and the named agents whose units are installed. */
export function knownServices(user: boolean, home: string): ServiceId[] {
  return ROLES.flatMap((role) => [
    { role, user },
    ...(role === "agent" ? installedNames(user, home).map((name) => ({ role, name, user })) : []),
  ]);
}

function installedNames(user: boolean, home: string): string[] {
  try {
    return readdirSync(unitDirectory(user, home))
      .map((file) => /^cdktr-agent-(.+)\.service$/.exec(basename(file))?.[1] ?? "")
      .filter((name) => INSTANCE_NAME.test(name))
      .sort();
  } catch {
    // A user without a single unit has no such directory.
    return [];
  }
}

function unitDirectory(user: boolean, home: string): string {
  return user ? join(home, ".config/systemd/user") : "/etc/systemd/system";
}
