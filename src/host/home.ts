/** The home directory of this process's user. A user id of a container need not have one. */
import { homedir } from "node:os";
import { ConfigError } from "../errors.ts";

/** The home directory; undefined without HOME and without an entry in /etc/passwd. */
function knownHome(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}

/**
 * The home directory.
 * @param settings what can be set instead: `CDKTR_APP_DATA_DIRECTORY`
 * @throws ConfigError saying what to set when there is none
 */
export function homeFor(settings: string): string {
  const home = knownHome();
  if (home !== undefined) return home;
  throw new ConfigError(
    `${settings} has no default: HOME is not set, and user ${process.getuid?.() ?? "?"} has no entry in /etc/passwd.`,
    { hint: `Set ${settings} to a directory that belongs to this user, or set HOME.` },
  );
}
