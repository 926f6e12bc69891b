/** What the wizard has been told so far, first by flags, then by answers. `undefined` means open. */
import { resolve } from "node:path";
import { InvalidInputError, UsageError } from "../../errors.ts";
import type { Editor, Kind, Ports, ServiceAnswer } from "../../project/answers.ts";
import {
  checkHost,
  checkProjectDirectory,
  checkWorkflowDirectory,
  insideProject,
} from "../../project/checks.ts";
import { decodeJoinToken } from "../../protocol/join-token.ts";
import { wholeNumber } from "../support/command.ts";
import { parseAddress } from "../support/connect.ts";
import type { CrontabSource } from "./crontab-source.ts";

/** Partial answers. */
export interface Given {
  readonly directory?: string | undefined;
  readonly kind?: Kind | undefined;
  readonly host?: string | undefined;
  readonly ports?: Partial<Ports> | undefined;
  /** Relative to the directory. */
  readonly workflowDirectory?: string | undefined;
  readonly keys?: boolean | undefined;
  readonly withAgent?: boolean | undefined;
  readonly example?: boolean | undefined;
  /** `null` for none. */
  readonly editor?: Editor | null | undefined;
  /** `null` for none. */
  readonly crontab?: CrontabSource | null | undefined;
  /** `null` for none. */
  readonly service?: ServiceAnswer | null | undefined;
  readonly principal?: { readonly host?: string | undefined; readonly port?: number | undefined } | undefined;
  /** Secret. `null` for none. */
  readonly token?: string | null | undefined;
  readonly concurrency?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** The flags as parsed by citty. */
export interface InitFlags {
  readonly dir?: string | undefined;
  readonly kind?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | undefined;
  readonly "logs-listening-port"?: string | undefined;
  readonly "logs-publishing-port"?: string | undefined;
  readonly "workflow-dir"?: string | undefined;
  readonly keys?: boolean | undefined;
  readonly agent?: boolean | undefined;
  readonly example?: boolean | undefined;
  readonly editor?: string | undefined;
  readonly "import-crontab"?: string | undefined;
  readonly "crontab-format"?: string | undefined;
  readonly "crontab-user"?: string | undefined;
  readonly service?: boolean | undefined;
  readonly user?: boolean | undefined;
  readonly "run-as"?: string | undefined;
  readonly principal?: string | undefined;
  readonly "max-concurrent-workflows"?: string | undefined;
}

/** The kinds of project for which each flag is meaningful. */
const OF_KIND: Partial<Record<keyof InitFlags, readonly Kind[]>> = {
  host: ["principal"],
  port: ["try", "principal"],
  "logs-listening-port": ["try", "principal", "agent"],
  "logs-publishing-port": ["try", "principal"],
  "workflow-dir": ["try", "principal"],
  keys: ["try", "principal"],
  agent: ["principal"],
  example: ["try", "principal"],
  editor: ["try", "principal"],
  "import-crontab": ["try", "principal"],
  principal: ["agent"],
  "max-concurrent-workflows": ["agent"],
};

/** The kind that the flags state or imply: a flag that fits only one kind selects it. */
function kindOf(flags: InitFlags, extra: Extra): Kind | undefined {
  const joins = extra.token !== undefined || Object.keys(extra.labels).length > 0;
  const meant = new Map<Kind, string>(joins ? [["agent", extra.token === undefined ? "label" : "join"]] : []);
  if (extra.joinToken) meant.set("principal", "join-token");
  for (const [flag, kinds] of Object.entries(OF_KIND)) {
    const [only] = kinds;
    if (only !== undefined && kinds.length === 1 && flags[flag as keyof InitFlags] !== undefined)
      meant.set(only, flag);
  }
  const [one, other] = meant;
  if (flags.kind === undefined && one !== undefined && other !== undefined) {
    throw new UsageError(`--${one[1]} and --${other[1]} cannot be combined.`, {
      hint: `The first is for --kind ${one[0]}, the second for --kind ${other[0]}.`,
    });
  }
  const kind = (flags.kind as Kind | undefined) ?? one?.[0];
  for (const [flag, kinds] of Object.entries(OF_KIND)) {
    const wanted = kind ?? (extra.yes ? "try" : undefined);
    if (flags[flag as keyof InitFlags] === undefined || wanted === undefined || kinds.includes(wanted))
      continue;
    refuseFlag(flag, kind ?? "try", kinds);
  }
  for (const [only, flag] of meant) if (kind !== only) refuseFlag(flag, kind ?? "try", [only]);
  return kind;
}

function refuseFlag(flag: string, kind: Kind, kinds: readonly Kind[]): never {
  throw new UsageError(`--${flag} has no meaning with --kind ${kind}.`, {
    hint: `It is for --kind ${kinds.join(" or --kind ")}.`,
  });
}

/** The parts of the command line that are not plain flags. */
interface Extra {
  readonly token: string | undefined;
  readonly labels: Record<string, string>;
  readonly joinToken: boolean;
  readonly yes: boolean;
}

/**
 * Reads the flags.
 * @throws UsageError when a flag is invalid or two contradict each other
 * @throws InvalidInputError when the token is not a join token
 */
export function givenOf(flags: InitFlags, extra: Extra): Given {
  const kind = kindOf(flags, extra);
  const directory = flags.dir === undefined ? undefined : resolve(flags.dir);
  refuse(directory === undefined ? undefined : checkProjectDirectory(directory));
  refuse(flags.host === undefined ? undefined : checkHost(flags.host), "--host");
  const workflowDirectory = flags["workflow-dir"];
  const project = directory ?? process.cwd();
  refuse(
    workflowDirectory === undefined ? undefined : checkWorkflowDirectory(workflowDirectory, project),
    "--workflow-dir",
  );
  const from = flags["import-crontab"];
  if (from === undefined && (flags["crontab-format"] ?? flags["crontab-user"]) !== undefined)
    throw new UsageError("--crontab-format and --crontab-user need --import-crontab.");
  if (extra.token !== undefined) checkToken(extra.token);
  const address = flags.principal === undefined ? undefined : parseAddress(flags.principal);
  return {
    directory,
    kind,
    host: flags.host,
    ports: portsOf(flags),
    workflowDirectory:
      workflowDirectory === undefined ? undefined : insideProject(workflowDirectory, project),
    keys: flags.keys,
    withAgent: flags.agent,
    example: flags.example,
    editor: flags.editor === "none" ? null : (flags.editor as Editor | undefined),
    crontab:
      from === undefined
        ? undefined
        : {
            from: from === "-" || from === "own" ? from : resolve(from),
            format: (flags["crontab-format"] ?? "auto") as CrontabSource["format"],
            user: flags["crontab-user"],
          },
    service: serviceOf(flags),
    principal:
      address === undefined
        ? undefined
        : {
            host: address.CDKTR_PRINCIPAL_HOST?.toString(),
            port:
              address.CDKTR_PRINCIPAL_PORT === undefined ? undefined : Number(address.CDKTR_PRINCIPAL_PORT),
          },
    token: extra.token,
    concurrency: wholeNumber(flags["max-concurrent-workflows"], "--max-concurrent-workflows", { min: 1 }),
    labels: Object.keys(extra.labels).length === 0 ? undefined : extra.labels,
  };
}

function checkToken(token: string): void {
  try {
    decodeJoinToken(token);
  } catch (error) {
    if (error instanceof InvalidInputError)
      throw new InvalidInputError(`--join: ${error.message}`, { hint: error.hint ?? "" });
    throw error;
  }
}

function refuse(problem: string | undefined, flag?: string): void {
  if (problem !== undefined) throw new UsageError(flag === undefined ? problem : `${flag}: ${problem}`);
}

function portsOf(flags: InitFlags): Partial<Ports> | undefined {
  const read = (flag: "port" | "logs-listening-port" | "logs-publishing-port") =>
    wholeNumber(flags[flag], `--${flag}`, { min: 1, max: 65_535 });
  const api = read("port");
  const logsListening = read("logs-listening-port");
  const logsPublishing = read("logs-publishing-port");
  const ports = {
    ...(api === undefined ? {} : { api }),
    ...(logsListening === undefined ? {} : { logsListening }),
    ...(logsPublishing === undefined ? {} : { logsPublishing }),
  };
  if (Object.keys(ports).length === 0) return undefined;
  const values = Object.values(ports);
  if (new Set(values).size < values.length) throw new UsageError("The three ports must be different.");
  return ports;
}

function serviceOf(flags: InitFlags): ServiceAnswer | null | undefined {
  if (flags.service === false) return null;
  if (flags.service === undefined) {
    if (flags.user === undefined && flags["run-as"] === undefined) return undefined;
    throw new UsageError("--user and --run-as need --service.");
  }
  if (flags.user && flags["run-as"] !== undefined)
    throw new UsageError("--run-as is for system services: a --user service runs as this user.");
  return { user: flags.user ?? false, runAs: flags["run-as"] ?? "" };
}
