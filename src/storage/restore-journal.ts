/**
 * Puts the files of a backup in place in one step, although they are several: a journal says what is to be put where before the first is
 * moved. Whoever starts next, a principal or another restore, finishes what a restore that was killed has begun.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { CdktrError, errorMessage } from "../errors.ts";
import { bootId } from "../host/boot.ts";
import { writePrivate } from "../host/private-files.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";

const Journal = z.object({
  /** The process that restores: its pid, and when it was started, in the words of the kernel. */
  pid: z.number(),
  started: z.string(),
  /** Name of the directories in which that is kept which was in place. */
  aside: z.string(),
  /** The files to replace. The new ones are complete beside them, see {@link stagedFor}. */
  files: z.array(z.string()),
});
type Journal = z.infer<typeof Journal>;

/** What belongs to a database besides its file: SQLite's log and its index, DuckDB's log, and the archive of the history. */
const ENDS = ["", "-wal", "-shm", ".wal", ".archive"];

interface Move {
  readonly from: string;
  readonly to: string;
}

/** Where the new file is until it is put in place. */
export function stagedFor(path: string): string {
  return `${path}.restoring`;
}

/** Where a file is kept that was in place. */
export function asideFor(path: string, name: string): string {
  return join(dirname(path), name, basename(path));
}

/**
 * Replaces files by their staged ones. If that fails, everything is as it was.
 * @param data the principal's data directory
 * @param aside name of the directories for what is in place
 * @returns the files of which there was one in place
 * @throws the reason why a file cannot be moved, by `explain`
 */
export function exchange(
  data: string,
  files: readonly string[],
  aside: string,
  explain: (error: unknown, path: string) => unknown,
): string[] {
  const journal: Journal = {
    pid: process.pid,
    started: startOf(process.pid) ?? "",
    aside,
    files: [...files],
  };
  writePrivate(journalIn(data), `${JSON.stringify(journal)}\n`);
  const moved: Move[] = [];
  try {
    for (const file of files) explaining(explain, file, () => replace(file, aside, moved));
  } catch (error) {
    for (const { from, to } of moved.toReversed()) explaining(explain, from, () => renameSync(to, from));
    rmSync(journalIn(data), { force: true });
    throw error;
  }
  finish(data);
  return files.filter((file) => moved.some(({ from }) => from === file));
}

/** Whether files are being put in place, or that was not finished: the staged ones are still needed. */
export function isRestoring(data: string): boolean {
  return existsSync(journalIn(data));
}

/**
 * Finishes a restore that was killed while it put files in place.
 * @param say called with a message if there was one
 * @throws CdktrError while the restore goes on, and when it cannot be finished
 */
export function finishRestore(data: string, say: (message: string) => void): void {
  if (!isRestoring(data)) return;
  const path = journalIn(data);
  const { pid, started, files, aside } = read(path);
  if (pid !== process.pid && startOf(pid) === started) {
    throw new CdktrError(`'cdktr restore' (process ${pid}) is putting a backup in place in ${data}.`, {
      hint: "Start again when it has ended.",
    });
  }
  try {
    for (const file of files) if (existsSync(stagedFor(file))) replace(file, aside, []);
    finish(data);
  } catch (error) {
    throw new CdktrError(
      `'cdktr restore' was killed while it put files in place, and that cannot be finished: ${errorMessage(error)}.`,
      { cause: error, hint: `Repair that, then start again. ${path} names the files.` },
    );
  }
  say(
    `'cdktr restore' was killed while it put files in place. That is finished now: ${files.join(", ")}. What was there before is in ${aside}, beside ${files.length === 1 ? "it" : "them"}.`,
  );
}

/** Moves what is in place aside, and the staged file into its place; `moved` gets each move. It can be continued after any of them. */
function replace(file: string, asideName: string, moved: Move[]): void {
  const move = (from: string, to: string) => {
    renameSync(from, to);
    moved.push({ from, to });
  };
  const aside = asideFor(file, asideName);
  for (const end of ENDS) {
    if (!existsSync(file + end)) continue;
    mkdirSync(dirname(aside), { recursive: true, mode: 0o700 });
    move(file + end, aside + end);
  }
  move(stagedFor(file), file);
  syncToDisk(dirname(file));
}

function finish(data: string): void {
  // A killed principal leaves it, to tell whether its write-ahead log is missing.
  rmSync(join(data, "principal.pid"), { force: true });
  rmSync(journalIn(data), { force: true });
  syncToDisk(data);
}

function journalIn(data: string): string {
  return join(data, "restore.json");
}

function read(path: string): Journal {
  try {
    return Journal.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    throw new CdktrError(`${path} cannot be read: ${errorMessage(error)}.`, {
      cause: error,
      hint: "It names the files that a restore was putting in place. Look for those that end in .restoring, then remove it.",
    });
  }
}

function explaining(
  explain: (error: unknown, path: string) => unknown,
  path: string,
  work: () => void,
): void {
  try {
    work();
  } catch (error) {
    throw explain(error, path);
  }
}

/** Identifies a process together with its pid; null when there is none. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return `${bootId()} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
  } catch {
    return null;
  }
}
