/** The journal of systemd, when it reads this process's stderr. */
import { fstatSync } from "node:fs";

/** The priorities of syslog that cdktr uses. */
export type Priority = "error" | "warning" | "info" | "debug";

/** As lines say them to the journal (sd-daemon(3)). */
const PREFIXES: Readonly<Record<Priority, string>> = {
  error: "<3>",
  warning: "<4>",
  info: "<6>",
  debug: "<7>",
};

let isJournal: boolean | undefined;

/**
 * Whether stderr goes to the journal. JOURNAL_STREAM says by device and inode which stream that is (systemd.exec(5)): a process
 * further down inherits the variable, but may have another stderr.
 */
export function stderrIsJournal(): boolean {
  isJournal ??= isStream(process.env.JOURNAL_STREAM);
  return isJournal;
}

/** A text for stderr; the journal is told the priority of each of its lines, since each is an entry of its own there. */
export function withPriority(text: string, priority: Priority): string {
  return stderrIsJournal() ? text.replace(/^/gm, PREFIXES[priority]) : text;
}

function isStream(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2);
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
