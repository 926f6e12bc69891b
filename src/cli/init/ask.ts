/** The questions of `cdktr init`. Each one fills in what neither a flag nor an earlier round of answers has set; the defaults come from complete.ts. */
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join, resolve } from "node:path";
import { CdktrError, errorMessage } from "../../errors.ts";
import { isLoopback } from "../../host/addresses.ts";
import { selfCommand } from "../../host/self.ts";
import { type Kind, type Ports, PROJECT_DATA, type ServiceAnswer } from "../../project/answers.ts";
import {
  checkCount,
  checkHost,
  checkPort,
  checkProjectDirectory,
  checkWorkflowDirectory,
  insideProject,
} from "../../project/checks.ts";
import { shortPath } from "../../project/next-steps.ts";
import { DEFAULT_PORTS, freePortsFrom, portsFrom, whyNotBindable } from "../../project/ports.ts";
import { decodeJoinToken } from "../../protocol/join-token.ts";
import { requireSystemd } from "../../systemd/host.ts";
import { DEFAULT_USER } from "../../systemd/service-id.ts";
import { keyValues } from "../support/command.ts";
import { parseAddress } from "../support/connect.ts";
import { currentUser } from "../support/host-users.ts";
import {
  hasNoWorkflows,
  hostIn,
  keysByDefault,
  portsIn,
  settingsIn,
  workflowDirectoryIn,
} from "./complete.ts";
import {
  type CrontabBytes,
  type CrontabSource,
  OWN,
  ownCrontab,
  readSource,
  translateSource,
} from "./crontab-source.ts";
import type { Given } from "./given.ts";
import { confirm, secret, select, tell, text } from "./prompts.ts";

/** The open questions, in order. */
type Draft = { -readonly [K in keyof Given]: Given[K] };

/**
 * Asks for everything that is still open.
 * @param flags answers that are not asked for
 * @param previous the answers of an earlier round, offered again as defaults
 * @param onDirectory called with the directory before anything in it is read
 * @throws Cancelled
 */
export async function ask(
  flags: Given,
  previous: Given,
  onDirectory: (directory: string) => void,
): Promise<Given> {
  const draft: Draft = { ...flags };
  draft.directory ??= await askDirectory(previous);
  onDirectory(draft.directory);
  draft.kind ??= await askKind(previous);
  if (draft.kind === "agent") await askAgent(draft, previous);
  else await askPrincipal(draft, previous);
  if (draft.service === undefined) draft.service = await askService(draft, previous);
  return draft;
}

async function askDirectory({ directory }: Given): Promise<string> {
  const cwd = process.cwd();
  const answer = await text({
    message: "Where should the project be? The directory is created if it does not exist.",
    initial: directory === undefined ? "." : shortPath(directory, cwd),
    check: (path) => checkProjectDirectory(resolve(path || ".")),
  });
  return resolve(answer || ".");
}

function askKind({ kind }: Given): Promise<Kind> {
  return select<Kind>(
    "What do you want to set up?",
    [
      { value: "try", label: "A single machine, to try it", hint: "everything on this host" },
      { value: "principal", label: "A principal", hint: "coordinates; agents on other hosts can join it" },
      { value: "agent", label: "An agent", hint: "executes runs for a principal on another host" },
    ],
    kind ?? "try",
  );
}

async function askPrincipal(draft: Draft, previous: Given): Promise<void> {
  const directory = draft.directory ?? process.cwd();
  const loaded = settingsIn(directory);
  const kind = draft.kind === "principal" ? "principal" : "try";
  if (draft.workflowDirectory === undefined) {
    const answer = await text({
      message: "Directory of the workflow files, inside the project",
      initial: previous.workflowDirectory ?? workflowDirectoryIn(directory, loaded.values),
      check: (path) => checkWorkflowDirectory(path, directory),
    });
    draft.workflowDirectory = insideProject(answer, directory);
  }
  if (kind === "principal") draft.host ??= await askHost(previous.host ?? hostIn(loaded, kind));
  const host = draft.host ?? "127.0.0.1";
  draft.ports = await askPorts(draft, previous, host, portsIn(loaded));
  draft.keys ??= await askKeys(host, resolve(directory, PROJECT_DATA), previous.keys);
  if (kind === "principal")
    draft.withAgent ??= await confirm("Run an agent next to it, on this host?", previous.withAgent ?? true);
  if (draft.crontab === undefined)
    draft.crontab = await askCrontab(draft.workflowDirectory ?? "workflows", previous.crontab);
  const isEmpty = hasNoWorkflows(join(directory, draft.workflowDirectory ?? "workflows"));
  draft.example ??= await confirm("Write an example workflow?", previous.example ?? isEmpty);
  if (draft.editor === undefined && seemsToHaveVsCode(directory)) {
    const message = "Set up VS Code here: completion and checks of workflow files (.vscode/settings.json)?";
    draft.editor = (await confirm(message, previous.editor !== null)) ? "vscode" : null;
  }
}

/** Whether somebody works on this project with VS Code: on a server, the question would be noise. */
function seemsToHaveVsCode(directory: string): boolean {
  return (
    process.env.TERM_PROGRAM === "vscode" ||
    existsSync(join(directory, ".vscode")) ||
    ["code", "codium"].some((name) => Bun.which(name) !== null)
  );
}

async function askHost(initial: string): Promise<string> {
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80:"))
    .map(({ address }) => address);
  const choices = [
    { value: "127.0.0.1", label: "127.0.0.1", hint: "this host only; agents on other hosts cannot reach it" },
    { value: "0.0.0.0", label: "0.0.0.0", hint: "all networks of this host" },
    ...own
      .slice(0, 6)
      .map((address) => ({ value: address, label: address, hint: "an address of this host" })),
    { value: "other", label: "Another one" },
  ];
  const known = choices.some(({ value }) => value === initial);
  const answer = await select("Which address should it listen on?", choices, known ? initial : "other");
  if (answer !== "other") return answer;
  return text({
    message: "Address to listen on",
    initial: known ? "" : initial,
    check: checkHost,
    probe: async (host) => {
      const why = await whyNotBindable(host, 0);
      return why === undefined
        ? undefined
        : `This host cannot listen on it (${why}): it is not one of its addresses.`;
    },
  });
}

async function askPorts(
  draft: Draft,
  previous: Given,
  host: string,
  present: Ports | undefined,
): Promise<Partial<Ports>> {
  if (draft.ports !== undefined) return draft.ports;
  const wanted = { ...(present ?? DEFAULT_PORTS), ...previous.ports };
  const isPresent = (port: number) => present !== undefined && Object.values(present).includes(port);
  // A principal of this project may be running; the ports it holds are not taken by someone else.
  const free = present === undefined ? await freePortsFrom(host, wanted) : wanted;
  const listed = Object.values(free).join(", ");
  if (free.api !== wanted.api)
    tell(`Port ${wanted.api} or one of the two after it is taken, perhaps by another principal.`);
  const known = present === undefined ? "They are free." : "This project uses them already.";
  const answer = await select(
    "Three ports, for requests, incoming logs and the live log",
    [
      { value: "these", label: listed, hint: known },
      { value: "other", label: "Others" },
    ],
    "these",
  );
  if (answer === "these") return free;
  const chosen: number[] = [];
  const askPort = async (message: string, initial: number): Promise<number> => {
    const port = Number(
      await text({
        message,
        initial: String(initial),
        check: (written) =>
          checkPort(written) ??
          (chosen.includes(Number(written)) ? "It is the same as one of the others." : undefined),
        probe: async (written) => {
          const number = Number(written);
          const why = isPresent(number) ? undefined : await whyNotBindable(host, number);
          if (why === undefined) return undefined;
          if (why === "EACCES") return `This user may not use port ${number}: choose one above 1023.`;
          return why === "EADDRINUSE"
            ? `Port ${number} is taken.`
            : `Port ${number} of ${host} cannot be bound: ${why}.`;
        },
      }),
    );
    chosen.push(port);
    return port;
  };
  const api = await askPort("Port for requests", free.api);
  const next = api === free.api ? free : portsFrom(api);
  return {
    api,
    logsListening: await askPort("Port for the agents' log lines", next.logsListening),
    logsPublishing: await askPort("Port for the live log", next.logsPublishing),
  };
}

async function askKeys(host: string, data: string, previous: boolean | undefined): Promise<boolean> {
  if (existsSync(join(data, "keys", "principal.key"))) {
    tell("This project has keys already: they stay in use.");
    return true;
  }
  if (isLoopback(host)) {
    return confirm(
      "Create keys? Without them, any user of this host can run programs as you.",
      previous ?? keysByDefault(host, data),
    );
  }
  const keys = await confirm(
    `Create keys? Without them, anyone who can reach ${host} can run programs on your agents.`,
    previous ?? true,
  );
  if (!keys)
    tell("It will be started with --insecure: use this only on a network that you trust fully.", "warn");
  return keys;
}

async function askCrontab(
  workflowDirectory: string,
  previous: CrontabSource | null | undefined,
): Promise<CrontabSource | null> {
  const own = readOwn();
  const jobs =
    own === undefined ? 0 : jobsOf({ from: OWN, format: "user", user: undefined }, own, workflowDirectory);
  const choices = [
    { value: "none", label: "No" },
    ...(jobs > 0
      ? [
          {
            value: OWN,
            label: `Yes, the one of ${currentUser().name}`,
            hint: `${jobs} ${jobs === 1 ? "job" : "jobs"}`,
          },
        ]
      : []),
    { value: "file", label: "Yes, from a file", hint: "such as /etc/crontab" },
  ];
  const before = previous === null || previous === undefined ? "none" : previous.from === OWN ? OWN : "file";
  const answer = await select("Import a crontab as workflows? The crontab is not changed.", choices, before);
  if (answer === "none") return null;
  if (answer === OWN) return { from: OWN, format: "user", user: undefined };
  const source = (path: string): CrontabSource => ({ from: resolve(path), format: "auto", user: undefined });
  const path = await text({
    message: "Which file?",
    initial: previous && previous.from !== OWN ? previous.from : "/etc/crontab",
    check: (file) => (file === "" ? "A path, such as /etc/crontab." : undefined),
    probe: async (file) => {
      try {
        const read = await readSource(source(file));
        return jobsOf(source(file), read, workflowDirectory) > 0
          ? undefined
          : `It has no jobs of ${currentUser().name}.`;
      } catch (error) {
        return errorMessage(error);
      }
    },
  });
  return source(path);
}

function readOwn(): CrontabBytes | undefined {
  try {
    return ownCrontab(currentUser().name);
  } catch (error) {
    tell(errorMessage(error));
    return undefined;
  }
}

function jobsOf(source: CrontabSource, read: CrontabBytes, workflowDirectory: string): number {
  return translateSource(source, read, workflowDirectory).imported.workflows.length;
}

async function askAgent(draft: Draft, previous: Given): Promise<void> {
  if (draft.token === undefined && draft.principal === undefined) {
    const how = await select(
      "How does it connect to its principal?",
      [
        { value: "token", label: "With a join token", hint: "printed by 'cdktr join-token create' there" },
        {
          value: "address",
          label: "By its address",
          hint: "a principal without keys, or with a key that is already here",
        },
      ],
      previous.principal !== undefined && !previous.token ? "address" : "token",
    );
    if (how === "token") {
      draft.token = await secret("The join token (not shown as you type)", (token) => {
        try {
          decodeJoinToken(token);
          return undefined;
        } catch (error) {
          return error instanceof CdktrError ? `${error.message} ${error.hint ?? ""}` : errorMessage(error);
        }
      });
    } else draft.principal = await askAddress(draft, previous);
  }
  draft.concurrency ??= Number(
    await text({
      message: "How many concurrent runs?",
      initial: String(
        previous.concurrency ?? settingsIn(draft.directory ?? ".").values.CDKTR_AGENT_MAX_CONCURRENCY,
      ),
      check: checkCount,
    }),
  );
  if (draft.labels === undefined) {
    const labelsOf = (answer: string) => keyValues(answer.split(/[\s,]+/).filter(Boolean), "");
    const answer = await text({
      message: "Labels that describe it, such as zone=b gpu=a100 (empty for none)",
      mayBeEmpty: true,
      initial: Object.entries(previous.labels ?? {})
        .map(([key, value]) => `${key}=${value}`)
        .join(" "),
      check: (labels) => {
        try {
          labelsOf(labels);
          return undefined;
        } catch {
          return "Write KEY=VALUE, with spaces between several.";
        }
      },
    });
    draft.labels = labelsOf(answer);
  }
}

async function askAddress(draft: Draft, previous: Given): Promise<{ host: string; port: number }> {
  const { values, sources } = settingsIn(draft.directory ?? ".");
  const known =
    sources.CDKTR_PRINCIPAL_HOST === "default"
      ? ""
      : `${values.CDKTR_PRINCIPAL_HOST}:${values.CDKTR_PRINCIPAL_PORT}`;
  const before =
    previous.principal?.host === undefined ? known : `${previous.principal.host}:${previous.principal.port}`;
  const read = (address: string) => parseAddress(address);
  const answer = await text({
    message: "Address of the principal, HOST:PORT",
    initial: before,
    check: (address) => {
      try {
        return read(address).CDKTR_PRINCIPAL_HOST === undefined
          ? "The host is missing: HOST:PORT."
          : undefined;
      } catch {
        return "HOST:PORT, such as 10.0.0.5:5561.";
      }
    },
  });
  const address = read(answer);
  return {
    host: String(address.CDKTR_PRINCIPAL_HOST),
    port: Number(address.CDKTR_PRINCIPAL_PORT ?? values.CDKTR_PRINCIPAL_PORT),
  };
}

async function askService(draft: Draft, previous: Given): Promise<ServiceAnswer | null> {
  const role = draft.kind === "agent" ? "agent" : "principal";
  const isRoot = process.getuid?.() === 0;
  try {
    requireSystemd(!isRoot, role, selfCommand());
  } catch (error) {
    tell(
      `A service is not possible here: ${errorMessage(error)}\n'cdktr docs operations' describes other ways to keep it running.`,
    );
    return null;
  }
  const whose = isRoot ? "" : " for this user";
  const wanted = await confirm(
    `Install a service${whose}, started now and at each boot (systemd)?`,
    (previous.service ?? null) !== null,
  );
  if (!wanted) return null;
  if (!isRoot) return { user: true, runAs: "" };
  const jobsOf = draft.crontab ? (draft.crontab.user ?? currentUser().name) : undefined;
  const runAs = await text({
    message: "Which user should it run as? The user is created if it does not exist.",
    initial: previous.service?.runAs || jobsOf || DEFAULT_USER,
    check: (name) =>
      /^[a-z_][a-z0-9_-]{0,31}$/.test(name) ? undefined : "Lower case letters, digits, _ and -.",
  });
  return { user: false, runAs };
}
