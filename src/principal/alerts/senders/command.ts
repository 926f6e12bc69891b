/** Runs a program of the operator's on the principal's host, with the message as JSON on its standard input. */
import { isAbsolute } from "node:path";
import { errorMessage } from "../../../errors.ts";
import { runProgram } from "../../../host/run-program.ts";
import { plainText } from "../../../terminal/foreign-text.ts";
import { formatDuration } from "../../../workflow/duration.ts";
import { SendError } from "./sender.ts";
import type { Transport } from "./transport.ts";

/** How long it may take, and then between TERM and KILL, ms. */
const LIMIT_MS = 60_000;
const GRACE_MS = 5000;
/** How much of its last words is read, bytes, and told, characters. */
const MOST_BYTES = 16 * 1024;
const MOST_TOLD = 500;
/** The longest variable, bytes: all of them and the arguments share a limit of the system. */
const LONGEST_VARIABLE = 4096;

/** What {@link commandTransport} needs. */
export interface CommandOptions {
  /** What the program gets of the principal's environment. */
  readonly environment: () => Readonly<Record<string, string>>;
  /** How long it may take, ms. */
  readonly limitMs?: number;
  readonly graceMs?: number;
}

export function commandTransport(argv: readonly string[], options: CommandOptions): Transport {
  const { environment, limitMs = LIMIT_MS, graceMs = GRACE_MS } = options;
  const [program = ""] = argv;
  return {
    async send({ subject, json }, { id, channel, alerts, more }, signal) {
      const [first] = alerts;
      const variables: Record<string, string> = {
        CDKTR_ALERT_CHANNEL: channel,
        CDKTR_ALERT_MESSAGE_ID: id,
        CDKTR_ALERT_SUBJECT: subject,
        CDKTR_ALERT_COUNT: String(alerts.length + more),
        CDKTR_ALERT_KIND: first?.kind ?? "",
        CDKTR_ALERT_ABOUT: first?.about ?? "",
        CDKTR_ALERT_KEY: first?.key ?? "",
        CDKTR_ALERT_WORKFLOW: first?.workflow_id ?? "",
        CDKTR_ALERT_RUN: first?.workflow_instance_id ?? "",
      };
      const env = { ...environment() };
      for (const [name, value] of Object.entries(variables)) env[name] = variableOf(value);
      const failure = (what: string, hint?: string) =>
        new SendError(`The command "${program}" ${what}.`, { hint });
      const ended = await runProgram(argv, {
        env,
        stdin: `${JSON.stringify(json)}\n`,
        limitMs,
        graceMs,
        signal,
        outBytes: 0,
        errBytes: MOST_BYTES,
      }).catch((error: unknown) => {
        const code = error instanceof Error && "code" in error ? error.code : undefined;
        if (code === "ENOENT")
          throw failure(
            "was not found",
            isAbsolute(program)
              ? "Neither the file nor the interpreter in its first line may be missing on the principal's host."
              : "Write its whole path; it is started without a shell.",
          );
        if (code === "EACCES")
          throw failure("is not executable", `As the principal's user: chmod +x ${program}`);
        throw failure(`cannot be started: ${errorMessage(error).split("\n")[0]?.replace(/\.$/, "")}`);
      });
      const said = lastWords(ended.err);
      if (signal.aborted) throw failure("was stopped");
      if (ended.isLate) throw failure(`has not ended after ${formatDuration(limitMs)}${said}`);
      if (ended.endedBy !== null) throw failure(`was ended by ${ended.endedBy}${said}`);
      if (ended.status !== 0) throw failure(`ended with status ${ended.status}${said}`);
    },
  };
}

/** Values of others in an environment: one line, without NUL. */
function variableOf(value: string): string {
  return plainText(value).slice(0, LONGEST_VARIABLE).toWellFormed();
}

/** The last of what it wrote to its standard error. */
function lastWords(err: Buffer): string {
  const lines = err
    .toString("utf8")
    .split(/\r?\n/)
    .map((line) => plainText(line).trim());
  const said = lines
    .filter((line) => line !== "")
    .slice(-3)
    .join(" / ")
    .slice(-MOST_TOLD);
  return said === "" ? "" : `: ${said.replace(/\.$/, "")}`;
}
