/** The source of a crontab to import: a file, stdin, or the user's own crontab, which only `crontab -l` may read. */
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { posix, resolve } from "node:path";
import { CdktrError, errorMessage, NotFoundError, UnprocessableError, UsageError } from "../../errors.ts";
import { hostZone } from "../../host/host-zone.ts";
import { type CrontabAnswer, IMPORT_DIRECTORY } from "../../project/answers.ts";
import { guessFormat } from "../../project/crontab/crontab-file.ts";
import { importCrontab } from "../../project/crontab/import-crontab.ts";
import { schemaFrom } from "../../project/project-files.ts";
import { currentUser, userNamed, userNames } from "../support/host-users.ts";

/** The keyword for the user's own crontab. */
export const OWN = "own";

/** Far larger than any real crontab. */
const MOST_BYTES = 4 * 1024 * 1024;

/** Which crontab to read, and how. */
export interface CrontabSource {
  /** A path, `-` for stdin, or `own`. */
  readonly from: string;
  readonly format: "auto" | "user" | "system";
  /** Whose jobs to import; undefined for the current user. */
  readonly user: string | undefined;
}

/** The content of a crontab. */
export interface CrontabBytes {
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly isPrivate: boolean;
}

/**
 * The crontab of a user, as printed by `crontab -l`; undefined when there is none, or no `crontab` program.
 * @throws UnprocessableError when it may not be read
 */
export function ownCrontab(user: string): CrontabBytes | undefined {
  if (Bun.which("crontab") === null) return undefined;
  const other = user === currentUser().name ? [] : ["-u", user];
  const { exitCode, stdout, stderr } = Bun.spawnSync(["crontab", ...other, "-l"], {
    stdin: "ignore",
    env: { ...process.env, LC_ALL: "C" },
  });
  if (exitCode === 0) return { bytes: stdout, name: `the crontab of ${user}`, isPrivate: true };
  const said = stderr.toString().trim();
  if (/no crontab for/i.test(said)) return undefined;
  throw new UnprocessableError(`'crontab -l' failed: ${said || `status ${exitCode}`}`, {
    hint: "Name a file instead: --import-crontab FILE.",
  });
}

/** Reads a crontab without changing it. */
export async function readSource({ from, user }: CrontabSource): Promise<CrontabBytes> {
  if (from === OWN) {
    const name = user ?? currentUser().name;
    const own = ownCrontab(name);
    if (own !== undefined) return own;
    throw new NotFoundError(
      Bun.which("crontab") === null
        ? "There is no 'crontab' program on this host to read the crontab from."
        : `${name} has no crontab.`,
      { hint: "Name a file instead, such as --import-crontab /etc/crontab." },
    );
  }
  if (from === "-") {
    return {
      bytes: new Uint8Array(await Bun.stdin.arrayBuffer()),
      name: "the crontab from stdin",
      isPrivate: true,
    };
  }
  try {
    const status = statSync(from);
    // May be a pipe: <(ssh other crontab -l).
    if (!status.isFile() && !status.isFIFO())
      throw new UnprocessableError(`${from} is not a crontab: it is not a file.`);
    if (status.size > MOST_BYTES) throw new UnprocessableError(`${from} is too large for a crontab.`);
    return { bytes: readFileSync(from), name: from, isPrivate: (status.mode & 0o004) === 0 };
  } catch (error) {
    if (error instanceof CdktrError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new NotFoundError(`There is no crontab ${from}.`);
    throw new UnprocessableError(`${from} cannot be read: ${code ?? errorMessage(error)}.`);
  }
}

/**
 * Reads and translates a crontab.
 * @param settings the text of `_cdktr.yml` in the workflow directory; undefined if there is none
 * @throws NotFoundError, UnprocessableError when it cannot be read
 * @throws UsageError when the user does not exist
 */
export function translateSource(
  source: CrontabSource,
  read: CrontabBytes,
  workflowDirectory: string,
  settings?: string,
): CrontabAnswer {
  const user = source.user === undefined ? currentUser() : userNamed(source.user);
  if (user === undefined) throw new UsageError(`--crontab-user ${source.user}: this host has no such user.`);
  const { format, isGuess } = formatOf(source, read.bytes);
  const imported = importCrontab(read.bytes, {
    format,
    notes: notesOn(source, format, isGuess),
    source: read.name,
    user: user.name,
    home: user.home,
    seed: hostname(),
    settings,
    zone: hostZone(),
    nowMs: Date.now(),
    schemaPath: schemaFrom(posix.join(workflowDirectory, IMPORT_DIRECTORY)),
  });
  return { imported, isPrivate: read.isPrivate };
}

function formatOf(
  { from, format }: CrontabSource,
  bytes: Uint8Array,
): { format: "user" | "system"; isGuess: boolean } {
  if (format !== "auto") return { format, isGuess: false };
  if (from === OWN) return { format: "user", isGuess: false };
  const path = resolve(from);
  if (path === "/etc/crontab" || path.startsWith(CRON_D)) return { format: "system", isGuess: false };
  const users = userNames();
  const guess = guessFormat(
    bytes,
    (name) => users.has(name),
    (name) => Bun.which(name) !== null,
  );
  return { format: guess, isGuess: true };
}

/** What the lines themselves do not show. */
function notesOn({ from }: CrontabSource, format: "user" | "system", isGuess: boolean): string[] {
  const notes: string[] = [];
  if (isGuess) {
    const what = format === "user" ? "without" : "with";
    notes.push(
      `It was read as a crontab ${what} a column for the user, a guess from its words: --crontab-format user or system decides it.`,
    );
  }
  const path = resolve(from);
  if (path.startsWith(CRON_D) && !/^[A-Za-z0-9_-]+$/.test(path.slice(CRON_D.length))) {
    notes.push("Cron may not have run these jobs: Debian's ignores a file in /etc/cron.d with such a name.");
  }
  return notes;
}

const CRON_D = "/etc/cron.d/";
