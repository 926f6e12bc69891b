/** The one place where errors become a message on stderr and an exit status. */
import { writeSync } from "node:fs";
import { CdktrError, errorMessage } from "../../errors.ts";
import { withPriority } from "../../host/journal.ts";
import { withoutJoinTokens } from "../../redaction.ts";
import { messageText, terminalText } from "../../terminal/foreign-text.ts";
import { BrokenPipe } from "./stdout.ts";
import { styleFor } from "./style.ts";

/** Tells the user what went wrong and what to do next; returns the exit status. */
export async function reportError(error: unknown): Promise<number> {
  if (error instanceof BrokenPipe) return 0;
  const style = styleFor("stderr");
  const tell = (label: string, text: string) => {
    const [first = "", ...rest] = messageText(text).split("\n");
    say(withPriority([`${label} ${first}`, ...rest].join("\n"), "error"));
  };
  if (error instanceof CdktrError) {
    tell(style.red("error:"), error.message);
    if (error.hint !== undefined) tell(style.cyan("hint:"), error.hint);
    if (await isDebugging()) say(style.dim(stackOf(error)));
    return error.exitCode;
  }
  tell(style.red("error:"), `internal: ${errorMessage(error)}`);
  if (await isDebugging()) say(style.dim(stackOf(error)));
  else tell(style.cyan("hint:"), "This is a bug in cdktr; CDKTR_LOG_LEVEL=DEBUG shows a stack trace.");
  return 1;
}

/** Writes a line to stderr synchronously, so that it is out before the process exits. */
export function say(text: string): void {
  try {
    writeSync(2, `${terminalText(withoutJoinTokens(text))}\n`);
  } catch {
    // stderr is closed: there is nobody left to tell.
  }
}

async function isDebugging(): Promise<boolean> {
  try {
    const { loadConfig } = await import("../../config.ts");
    return loadConfig().values.CDKTR_LOG_LEVEL === "DEBUG";
  } catch {
    return false;
  }
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
