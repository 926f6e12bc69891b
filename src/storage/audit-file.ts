/**
 * What commands have changed in the files of a principal, which may not be running then. They append lines to a file; the principal takes
 * them into its state, in order and each once: a line has an id, and whoever reads a file has renamed it before. A line that is appended
 * to a file at that very moment is appended again to the next one.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { CdktrError } from "../errors.ts";
import { createPrivate, makePrivateDirectory } from "../host/private-files.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";

const Line = z.object({
  /** Random. */
  id: z.string().min(1).max(64),
  timestamp_ms: z.number().int(),
  actor: z.string().max(256).nullable(),
  action: z.string().max(64),
  subject: z.string().max(4096).nullable(),
  /** JSON object. */
  detail: z.string().max(16_384).nullable(),
  outcome: z.string().max(2048),
});
/** What a command did, or was refused. */
export type AuditLine = z.infer<typeof Line>;

const directoryOf = (data: string) => join(data, "audit");
const pendingIn = (data: string) => join(directoryOf(data), "pending.jsonl");
const takenIn = (data: string) => join(directoryOf(data), "taken.jsonl");

/** Whether anything has been recorded in this data directory, or a principal has run there. */
export function hasAuditFiles(data: string): boolean {
  return existsSync(directoryOf(data));
}

/**
 * Makes sure that lines can be appended.
 * @throws CdktrError when they cannot
 */
export function prepareAuditFiles(data: string): void {
  makePrivateDirectory(directoryOf(data));
  closeSync(open(data));
}

/**
 * Appends a line; it is on disk afterwards.
 * @throws CdktrError when that is not possible
 */
export function appendAudit(data: string, line: AuditLine): void {
  makePrivateDirectory(directoryOf(data));
  // A line that was cut off by a crash ends here.
  const text = Buffer.from(`\n${JSON.stringify(line)}\n`);
  for (;;) {
    const descriptor = open(data);
    try {
      if (writeSync(descriptor, text) < text.length) throw new Error("it was written in part only");
      fsyncSync(descriptor);
      // Whoever renamed the file may have read it before: then the line goes into the next one, too, which has it once by its id.
      if (fstatSync(descriptor).ino === statSync(pendingIn(data), { throwIfNoEntry: false })?.ino) return;
    } catch (error) {
      throw failure(data, error);
    } finally {
      closeSync(descriptor);
    }
  }
}

/**
 * The lines that were appended and have not been {@link auditTaken taken}: the same ones again until they are.
 * @param broken called with what is no line
 */
export function takeAudit(data: string, broken: (text: string) => void): AuditLine[] {
  const [pending, taken] = [pendingIn(data), takenIn(data)];
  if (!existsSync(taken)) {
    if ((statSync(pending, { throwIfNoEntry: false })?.size ?? 0) === 0) return [];
    renameSync(pending, taken);
  }
  return readFileSync(taken, "utf8")
    .split("\n")
    .flatMap((text) => {
      if (text.trim() === "") return [];
      const line = parse(text);
      if (line === undefined) broken(text);
      return line ?? [];
    });
}

/** The lines that {@link takeAudit} has returned are in the state. */
export function auditTaken(data: string): void {
  rmSync(takenIn(data), { force: true });
  if (hasAuditFiles(data)) syncToDisk(directoryOf(data));
}

function parse(text: string): AuditLine | undefined {
  try {
    return Line.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function open(data: string): number {
  const path = pendingIn(data);
  try {
    if (!existsSync(path)) createPrivate(path, "");
    return openSync(
      path,
      constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
      0o600,
    );
  } catch (error) {
    throw failure(data, error);
  }
}

function failure(data: string, error: unknown): CdktrError {
  if (error instanceof CdktrError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new CdktrError(`${pendingIn(data)} cannot be written: ${code ?? message}.`, {
    cause: error,
    hint: "Is there free space on the disk, and does the directory belong to this user?",
  });
}
