/** Support for the systemd journal when it receives this process's stderr. */
import { fstatSync } from "node:fs";

/** The syslog priorities that cdktr uses. */
export type Priority = "error" | "warning" | "info" | "debug";

/** The priority prefixes of lines (sd-daemon(3)). */
const PREFIXES: Readonly<Record<Priority, string>> = {
  error: "<3>",
  warning: "<4>",
  info: "<6>",
  debug: "<7>",
};

let isJournal: boolean | undefined;

/**
 * Whether stderr goes to the journal. JOURNAL_STREAM identifies that stream by device and inode (systemd.exec(5)): a child process
 * inherits the variable, but may have a different stderr.
 */
export function stderrIsJournal(): boolean {
  isJournal ??= isStream(process.env.JOURNAL_STREAM);
  return isJournal;
}

/** Text for stderr; for the journal, each line gets a priority prefix, because each becomes a separate entry. */
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
