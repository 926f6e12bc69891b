/**
 * Directories for tasks that run as other users (`user:`). The data directory of the agent is closed to these, and stays so: what a try of
 * such a task needs is in a directory of its own elsewhere, which belongs to its user and to which nobody else has access.
 *
 *     /var/tmp/cdktr-users-XXXXXX/           of root; others may pass, and cannot list it
 *                                 try-XXXXXX/   of the user, for one try
 */
import {
  chmodSync,
  lchownSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { userInfo } from "node:os";
import { basename, join } from "node:path";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { CannotStartError } from "./executors/executor.ts";
import { type Account, accountOf } from "./libc.ts";
import { removeFiles } from "./remove-files.ts";

/** Others reach it, and it is on a disk. */
const PARENT = "/var/tmp";
const PREFIX = "cdktr-users-";
/** In the data directory: where the directory is. */
const RECORD = "users";

export class UserPlaces {
  readonly #record: string;
  readonly #parent: string;
  #path: string | undefined;
  readonly #removing = new Set<Promise<void>>();

  /**
   * Begins to remove what an earlier process of the agent left.
   * @param dataDirectory the agent's own, which no other process uses
   */
  constructor(dataDirectory: string, parent = PARENT) {
    this.#record = join(dataDirectory, RECORD);
    this.#parent = parent;
    void removeFormer(dataDirectory);
  }

  /** Makes a directory, which is root's until {@link handOver}. @throws an error of the system */
  make(): string {
    if (this.#path === undefined || !isOurs(this.#path)) this.#path = this.#open();
    return mkdtempSync(join(this.#path, "try-"));
  }

  /** Begins to remove a directory that was made. */
  remove(place: string): void {
    const removing = removeFiles(place).finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }

  /** Removes it all. Call when no task runs any more. */
  async close(): Promise<void> {
    await Promise.all(this.#removing);
    if (this.#path !== undefined) await removeFiles(this.#path);
    this.#path = undefined;
  }

  #open(): string {
    const path = mkdtempSync(join(this.#parent, PREFIX));
    // First: whatever happens then, the next process knows of it.
    writeFileSync(this.#record, path, { mode: 0o600 });
    chmodSync(path, 0o711);
    return path;
  }
}

/** Removes what a process left that has used this data directory. Never rejects. */
export async function removeFormer(dataDirectory: string): Promise<void> {
  try {
    const path = readFileSync(join(dataDirectory, RECORD), "utf8");
    if (basename(path).startsWith(PREFIX) && isOurs(path)) await removeFiles(path);
  } catch (error) {
    // As a rule there is no such record.
    log.debug(`No directory of tasks of other users is left: ${errorMessage(error)}`);
  }
}

/**
 * Whether it is still the directory that this process, or an earlier one, made: hosts empty `/var/tmp` of what is old, and then anybody can
 * make something of the same name.
 */
function isOurs(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === process.getuid?.();
}

/** Gives a directory, with what this process has put into it, to a user. Nobody else has access to it yet. */
export function handOver(path: string, owner: Pick<Account, "uid" | "gid">): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) handOver(child, owner);
    else lchownSync(child, owner.uid, owner.gid);
  }
  lchownSync(path, owner.uid, owner.gid);
}

/**
 * The user as whom a task is to run.
 * @param ownUid that of this process
 * @throws CannotStartError when there is none, or this process may not start it
 */
export function userOfTask(name: string, ownUid = process.getuid?.()): Account {
  if (ownUid !== 0)
    throw new CannotStartError(
      `Cannot start: "user" needs an agent that runs as root; this one runs as ${ownName()}.`,
      { hint: "Leave it out, or run an agent as root and use runs_on for tasks that need it." },
    );
  const account = accountOf(name);
  if (account === undefined)
    throw new CannotStartError(`Cannot start: user "${name}" does not exist on this host.`);
  return account;
}

/** What a task finds in its environment about its user. */
export function variablesOfUser({ name, home, shell }: Account): Record<string, string> {
  return { HOME: home, USER: name, LOGNAME: name, SHELL: shell === "" ? "/bin/sh" : shell };
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch (error) {
    log.debug(`This process has no user name: ${errorMessage(error)}`);
    return `uid ${process.getuid?.()}`;
  }
}
