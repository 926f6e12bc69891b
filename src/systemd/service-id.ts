/** The cdktr services of a host: their names and the locations of their files. */
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";

export const ROLES = ["principal", "agent", "listeners"] as const;
export type Role = (typeof ROLES)[number];

/** The default user of a system service. */
export const DEFAULT_USER = "cdktr";

export interface ServiceId {
  readonly role: Role;
  /** Distinguishes several agents on one host: the suffix of the agent's id. */
  readonly name?: string;
  /** A user service instead of a system service. */
  readonly user: boolean;
}

/** Valid agent names: they are part of file names, of agent ids, and of systemd unit names. */
export const INSTANCE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** `principal`, `agent`, `agent-NAME`. */
export function serviceName({ role, name }: ServiceId): string {
  return name === undefined ? role : `${role}-${name}`;
}

/** Name of its unit. */
export function unitName(service: ServiceId): string {
  return `cdktr-${serviceName(service)}.service`;
}

/** Path of its unit file. */
export function unitPath(service: ServiceId, home: string): string {
  return join(unitDirectory(service.user, home), unitName(service));
}

/** Path of its settings file. */
export function environmentPath(service: ServiceId, home: string): string {
  return join(service.user ? join(home, ".config/cdktr") : "/etc/cdktr", `${serviceName(service)}.env`);
}

/**
 * The name of its directories below /var/lib and /var/cache: one per user, since systemd gives them to the user of the unit being
 * started.
 */
export function stateDirectoryName(runAs: string): string {
  return runAs === DEFAULT_USER ? "cdktr" : `cdktr-${runAs}`;
}

/** The data directory of a system service. */
export function stateDirectory(runAs: string): string {
  return `/var/lib/${stateDirectoryName(runAs)}`;
}

/** All possible services: one of each role, plus the named agents whose units are installed. */
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
    // A user without any unit has no such directory.
    return [];
  }
}

function unitDirectory(user: boolean, home: string): string {
  return user ? join(home, ".config/systemd/user") : "/etc/systemd/system";
}
