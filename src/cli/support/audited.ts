/** Commands that change files of the principal, which may not be running: what they do is recorded beside these files. */
import { existsSync } from "node:fs";
import { CdktrError } from "../../errors.ts";
import { withoutJoinTokens } from "../../redaction.ts";
import { type AuditLine, appendAudit, hasAuditFiles, prepareAuditFiles } from "../../storage/audit-file.ts";
import { currentUser } from "./host-users.ts";

/** Characters of a name in the particulars: a line that is too long would be left out. */
const MOST_OF_NAME = 256;

/** What a command does. */
export interface Deed {
  /** See `cdktr docs audit`. */
  readonly action: string;
  readonly subject: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/**
 * Runs what changes files of the principal, and records it in the data directory, or that it was refused.
 * @param done what is known afterwards
 * @throws CdktrError also when nothing can be recorded: before anything is changed, as far as that can be known
 */
export function audited<T>(
  data: string,
  deed: Deed,
  work: () => T,
  done: (result: T) => Partial<Deed> = () => ({}),
): T {
  if (hasAuditFiles(data)) prepareAuditFiles(data);
  let result: T;
  try {
    result = work();
  } catch (error) {
    // A directory in which nothing has ever been done stays as it is.
    if (error instanceof CdktrError && hasAuditFiles(data)) record(data, deed, `refused: ${error.message}`);
    throw error;
  }
  recordDeed(data, { ...deed, ...done(result) });
  return result;
}

/** Records what was done. */
export function recordDeed(data: string, deed: Deed): void {
  if (existsSync(data)) record(data, deed, "done");
}

function record(data: string, { action, subject, detail }: Deed, outcome: string): void {
  const { SUDO_USER: by } = process.env;
  const particulars = {
    ...detail,
    ...(by === undefined || by === "" ? {} : { sudo_user: by.slice(0, MOST_OF_NAME) }),
  };
  const line: AuditLine = {
    id: crypto.randomUUID(),
    timestamp_ms: Date.now(),
    // Not by $USER, which anybody sets as they like.
    actor: currentUser().name,
    action,
    subject: withoutJoinTokens(subject).slice(0, 1000),
    detail: Object.keys(particulars).length === 0 ? null : JSON.stringify(particulars),
    outcome: withoutJoinTokens(outcome).slice(0, 1000),
  };
  appendAudit(data, line);
}
