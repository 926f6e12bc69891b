/** Translates a crontab into workflow files: each line becomes part of one, or is listed with the reason why not. The crontab is only read. */
import { createHash } from "node:crypto";
import { hostZone, UnknownZoneError } from "../../host/host-zone.ts";
import { isTimezone } from "../../host/timezones.ts";
import { parseWorkflow } from "../../workflow/parse.ts";
import { changedTimes } from "./clock-changes.ts";
import { readCommand } from "./command-text.ts";
import { CronFieldError, type CronTimes, readTimes, shortForm } from "./cron-fields.ts";
import {
  type CrontabFormat,
  type CrontabLine,
  isTableHead,
  type JobLine,
  readCrontab,
} from "./crontab-file.ts";
import { jobName, UniqueNames } from "./job-name.ts";
import { type MailChannel, MailChannels, type MailSettings, problemOfMail } from "./mail-channels.ts";
import { workflowText } from "./workflow-text.ts";

/** Options for reading a crontab. */
export interface ImportOptions {
  readonly format: CrontabFormat;
  /** Its name in messages, such as `the crontab of alice` or `/etc/crontab`. */
  readonly source: string;
  /** The user that tasks will run as: jobs of other users are skipped. */
  readonly user: string;
  /** That user's home: cron runs jobs there. */
  readonly home: string;
  /** Makes the random values of `~` differ from host to host. */
  readonly seed: string;
  /** Relative path from a workflow file to the schema. */
  readonly schemaPath: string;
  /** The host's time zone, in which cron schedules. */
  readonly zone: string;
  readonly nowMs: number;
  /** The text of `_cdktr.yml` in the workflow directory; undefined if there is none. */
  readonly settings?: string | undefined;
  /** What is to be known of the source, such as that its format was guessed. */
  readonly notes?: readonly string[];
}

/** A workflow file made from a line. */
interface ImportedWorkflow {
  /** File name without directory. */
  readonly file: string;
  readonly text: string;
  readonly line: number;
  readonly disabled: boolean;
  /** The channel that is told when it fails; undefined for none. */
  readonly channel: string | undefined;
}

/** The result for a line. */
export interface LineOutcome {
  readonly number: number;
  readonly text: string;
  readonly outcome: "workflow" | "disabled" | "environment" | "comment" | "blank" | "left";
  /** The workflow file, or why the line was not translated. */
  readonly detail: string;
  /** Differences from cron, or points to check. */
  readonly notes: readonly string[];
}

/** The result of an import. */
export interface CrontabImport {
  readonly source: string;
  /** The host's time zone, in which cron ran the jobs. */
  readonly zone: string;
  /** What takes the place of MAILTO: the workflows name them under `notify`. */
  readonly channels: readonly MailChannel[];
  /** What was guessed or changed in the crontab as a whole. */
  readonly notes: readonly string[];
  readonly workflows: readonly ImportedWorkflow[];
  /** One entry per line, in order. */
  readonly lines: readonly LineOutcome[];
}

/** The lines that could not be translated. */
export function leftLines({ lines }: CrontabImport): LineOutcome[] {
  return lines.filter(({ outcome }) => outcome === "left");
}

/** Variables for cron itself that mean nothing to the commands, with the reason why they are dropped. */
const CRONS_OWN: Readonly<Record<string, string>> = {
  CONTENT_TYPE: "mails have a text and an HTML part",
  CONTENT_TRANSFER_ENCODING: "mails have a text and an HTML part",
  RANDOM_DELAY: "a workflow fires exactly on time",
  START_HOURS_RANGE: "it is for anacron: a workflow fires exactly on time",
  LOGNAME: "cron does not allow it to be set either",
};
const SECRET = /PASS(WD|WORD)?|SECRET|TOKEN|API_?KEY|CREDENTIAL/i;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

export function importCrontab(bytes: Uint8Array, options: ImportOptions): CrontabImport {
  const names = new UniqueNames();
  const workflows: ImportedWorkflow[] = [];
  const lines: LineOutcome[] = [];
  const env = new Map<string, string>();
  const mails = new MailChannels(options.settings);
  let mail: MailSettings = { to: "", from: undefined };
  let timezone: string | undefined;
  let comments: string[] = [];

  for (const line of readCrontab(bytes, options.format)) {
    const { number, text, content } = line;
    const tell = (outcome: LineOutcome["outcome"], detail: string, notes: readonly string[] = []) =>
      lines.push({ number, text, outcome, detail, notes });
    if (content.kind === "comment") {
      if (!isTableHead(content.says)) comments.push(content.says);
      tell("comment", "");
      continue;
    }
    const above = comments;
    comments = [];
    switch (content.kind) {
      case "blank":
        tell("blank", "");
        break;
      case "unreadable":
        tell("left", content.why);
        break;
      case "environment": {
        const { name, value } = content;
        if (name === "CRON_TZ") {
          timezone = zoneNamed(value);
          if (timezone === undefined) {
            tell(
              "left",
              `"${value}" is not a time zone known to this system: the jobs below use the principal's`,
            );
          } else {
            const isSame = timezone === value;
            tell("environment", "time zone", isSame ? [] : [`The zone ${value} is written as ${timezone}.`]);
          }
          break;
        }
        const why = Object.hasOwn(CRONS_OWN, name) ? CRONS_OWN[name] : undefined;
        if (why !== undefined) tell("left", why);
        else if (!NAME.test(name)) tell("left", "a workflow cannot have a variable with this name");
        else if (name === "MAILTO" || name === "MAILFROM") {
          const next = name === "MAILTO" ? { ...mail, to: value } : { ...mail, from: value || undefined };
          const problem = problemOfMail(next);
          if (problem !== null) tell("left", `it cannot be a channel: ${problem}`);
          else {
            mail = next;
            if (name === "MAILFROM") tell("environment", "sender of mail");
            else if (value.trim() === "") tell("environment", "no mail, as requested");
            else tell("environment", "receiver of mail", [ON_MAIL]);
          }
        } else {
          env.set(name, value);
          tell("environment", "variable", notesOnVariable(name, value));
        }
        break;
      }
      case "job": {
        const made = translate(line, content, above, {
          options,
          names,
          env,
          timezone,
          mail: () => mails.take(mail)?.name,
        });
        if ("why" in made) {
          // A comment that merely looked like a job needs no mention.
          if (content.disabled) {
            comments = [...above, text.replace(/^\s*#+\s?/, "")];
            tell("comment", "");
          } else tell("left", made.why);
          break;
        }
        workflows.push(made.workflow);
        tell(content.disabled ? "disabled" : "workflow", made.workflow.file, made.notes);
        break;
      }
    }
  }
  const { source, zone } = options;
  const used = new Set(workflows.map(({ channel }) => channel));
  const channels = mails.all.filter(({ name }) => used.has(name));
  return {
    source,
    zone,
    channels,
    workflows,
    lines,
    notes: [...(options.notes ?? []), ...notesOnFile(bytes)],
  };
}

const ON_MAIL =
  "Cron mails what jobs print. Here, a mail is sent when a run fails, and when the next one completes; what jobs print is in their logs. It goes to the mail server of the principal's host, unless channels in _cdktr.yml say another: 'cdktr alerts test CHANNEL' tries it.";

/** What cron makes of the bytes of the file, and the import does not. */
function notesOnFile(bytes: Uint8Array): string[] {
  const notes: string[] = [];
  if (bytes.includes(CARRIAGE_RETURN)) {
    notes.push(
      "Lines end with carriage returns (Windows line endings): cron passes them on to commands and variables, the import drops them.",
    );
  }
  if (bytes.length > 0 && bytes.at(-1) !== NEWLINE) {
    notes.push(
      "The last line does not end with a newline: cron may refuse or ignore it, the import does not.",
    );
  }
  return notes;
}

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;

/** The IANA name of what `CRON_TZ` says. */
function zoneNamed(value: string): string | undefined {
  if (isTimezone(value)) return value;
  try {
    return hostZone(value);
  } catch (error) {
    if (error instanceof UnknownZoneError) return undefined;
    throw error;
  }
}

function notesOnVariable(name: string, value: string): string[] {
  const notes: string[] = [];
  if (SECRET.test(name) && value !== "") {
    notes.push(
      "It looks like a secret and is now in the workflow files: move it to the agent's environment.",
    );
  }
  if (name === "TZ")
    notes.push("Commands see it, but cron does not use it for scheduling, and neither does cdktr.");
  if (/\$\{?\w/.test(value) && name !== "SHELL")
    notes.push("Cron does not expand $ here, and neither does cdktr: the value is taken literally.");
  return notes;
}

function translate(
  line: CrontabLine,
  job: JobLine,
  comments: readonly string[],
  at: {
    options: ImportOptions;
    names: UniqueNames;
    env: ReadonlyMap<string, string>;
    timezone: string | undefined;
    mail: () => string | undefined;
  },
): { workflow: ImportedWorkflow; notes: string[] } | { why: string } {
  const { options } = at;
  if (job.user !== undefined && job.user !== options.user) {
    return {
      why: `it runs as ${job.user}, and tasks run as the user of their agent, here ${options.user}: import it as that user, with an agent of its own`,
    };
  }
  const [first = ""] = job.times;
  let fields = job.times;
  if (first.startsWith("@")) {
    if (first === "@reboot") {
      return {
        why: "workflows have no trigger for the start of the host: use a systemd unit that runs 'cdktr run ID'",
      };
    }
    const meant = shortForm(first);
    if (meant === undefined) {
      const lower = shortForm(first.toLowerCase()) !== undefined;
      return {
        why: lower ? `cron accepts ${first} only in lower case` : `cdktr has no equivalent of ${first}`,
      };
    }
    fields = meant.split(" ");
  }
  const notes: string[] = [...job.notes];
  let commandText = job.command.trimEnd();
  // OpenBSD's flags; no program has such a name.
  const flags = /^-([nqs]+)[ \t]+/.exec(commandText);
  if (flags !== null) {
    commandText = commandText.slice(flags[0].length);
    if (/[nq]/.test(flags[1] ?? "")) {
      notes.push(
        `-${flags[1]} is dropped: it only affects cron's mails and log; the output of a run is in its log.`,
      );
    }
    if (flags[1]?.includes("s"))
      notes.push(
        "Cron ran only one instance at a time (-s); cdktr starts it again even if it is still running.",
      );
  }
  try {
    const times = readTimes(fields, randomOf(`${options.seed}\n${line.text}`));
    const command = readCommand(commandText);
    if (command.command.trim() === "") return { why: "it has no command" };
    const expressions = expressionsOf(times, at.timezone ?? options.zone, options.nowMs);
    notes.push(
      ...times.notes,
      ...(expressions.length > 1
        ? [ONE_EACH]
        : clockNote(times.fixed, at.timezone ?? options.zone, options.nowMs)),
    );
    const name = jobName(command.command);
    const channel = at.mail();
    const text = workflowText(
      {
        name,
        comments: comments.map((comment) => comment.trim()).filter((comment) => comment !== ""),
        expressions,
        disabled: job.disabled,
        timezone: at.timezone,
        shell: at.env.get("SHELL") || "/bin/sh",
        env: at.env,
        home: at.env.get("HOME") || options.home,
        command,
        channel,
        notes,
        line,
        source: options.source,
      },
      options.schemaPath,
    );
    const checked = parseWorkflow(text, { path: `${name}.yml`, id: name });
    if (!checked.ok)
      return {
        why: checked.diagnostics
          .map(({ message, help }) => [message, help].filter(Boolean).join(": "))
          .join("; "),
      };
    const file = `${at.names.take(name)}.yml`;
    return {
      workflow: { file, text, line: line.number, disabled: job.disabled, channel },
      notes,
    };
  } catch (error) {
    if (error instanceof CronFieldError) return { why: error.message };
    throw error;
  }
}

/** Number of fixed times of a day that become a schedule each. */
const MOST_SCHEDULES = 12;
const ONE_EACH =
  "Each time of day is a schedule of its own: so it fires once a day, as with cron, also when the clock skips it or comes to it twice.";

/**
 * The schedules of a job. If the clock skips one of its fixed times in some nights, each is one by itself, which fires once a day. Those
 * that would be made up for at the same moment as another one, and in the same run, stay one schedule.
 */
function expressionsOf({ expression, fixed }: CronTimes, zone: string, nowMs: number): string[] {
  const isChanged = (time: number): boolean => changedTimes([time], zone, nowMs).length > 0;
  const changed = fixed.filter(isChanged);
  const meetsAnother = fixed.some((time) => !isChanged(time) && isChanged(time - 1));
  if (fixed.length < 2 || fixed.length > MOST_SCHEDULES || changed.length !== 1 || meetsAnother)
    return [expression];
  const days = expression.split(" ").slice(2).join(" ");
  return [...fixed].sort((a, b) => a - b).map((time) => `${time % 60} ${Math.floor(time / 60)} ${days}`);
}

/** A job with one fixed time a day runs once a day in both systems; jobs with several differ. */
function clockNote(fixed: readonly number[], zone: string, nowMs: number): string[] {
  if (fixed.length < 2) return [];
  const times = changedTimes(fixed, zone, nowMs).sort((a, b) => a - b);
  if (times.length === 0) return [];
  const shown = times.slice(0, 4).map((time) => `${two(Math.floor(time / 60))}:${two(time % 60)}`);
  const more = times.length > shown.length ? " and others" : "";
  return [
    `When the clock changes in ${zone}, ${shown.join(", ")}${more} ${times.length === 1 ? "is" : "are"} skipped in one night and ${times.length === 1 ? "comes" : "come"} twice in another: cron catches up on the former and does not repeat the latter; a workflow follows the clock.`,
  ];
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

/** A reproducible sequence of numbers in [0, 1) for a seed. */
function randomOf(seed: string): () => number {
  let count = 0;
  return () => createHash("sha256").update(`${count++}\n${seed}`).digest().readUInt32BE(0) / 2 ** 32;
}
