/** Plans a project and creates it. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { joinPrincipal } from "../../agent/join.ts";
import { loadConfig } from "../../config.ts";
import { CdktrError, UnprocessableError } from "../../errors.ts";
import { selfCommand } from "../../host/self.ts";
import { setLogLevel } from "../../log.ts";
import type { AgentAnswers, Answers } from "../../project/answers.ts";
import { EDITOR_SETTINGS_PATH, editorSettings, withEditorSettings } from "../../project/editor-settings.ts";
import { type NextStep, nextSteps, shellWord, startArguments } from "../../project/next-steps.ts";
import { type Decision, filesToWrite, type PlannedFile, planFiles } from "../../project/plan.ts";
import { isHostService } from "../../project/project-files.ts";
import { Staging } from "../../project/staging.ts";
import { KeyStore } from "../../protocol/doors/key-store.ts";
import { encodeJoinToken } from "../../protocol/join-token.ts";
import { pause } from "../../timer.ts";
import { addressFor, warnOfLoopback } from "../join-token/create.ts";
import { audited, recordDeed } from "../support/audited.ts";
import { currentUser, userNamed } from "../support/host-users.ts";
import { onStopSignals } from "../support/signals.ts";
import { foreignDataDirectory, settingsIn } from "./complete.ts";
import { programName } from "./program-name.ts";

/** Lifetime of the join token shown on the last screen, ms. */
const TOKEN_TTL_MS = 3_600_000;

/** A signal arrived before the point of no return. */
export class Interrupted extends CdktrError {
  constructor() {
    super("Interrupted: nothing was written.");
  }
}

/** The planned work. */
export interface Plan {
  readonly answers: Answers;
  readonly files: readonly PlannedFile[];
  /** Actions other than writing files, each as a sentence, in order. */
  readonly actions: readonly string[];
  /** Keys will be created: they are wanted and do not exist yet. */
  readonly makesKeys: boolean;
  readonly token: string | undefined;
  readonly joinToken: boolean;
}

/** The work done. */
export interface Done {
  readonly written: readonly string[];
  readonly kept: readonly string[];
  readonly unchanged: readonly string[];
  /** A join token for another host, if one was wanted. */
  readonly joinToken: string | undefined;
  readonly next: readonly NextStep[];
}

/**
 * Makes the plan; changes nothing.
 * @throws CdktrError when something is in the way
 */
export function planOf(answers: Answers, token: string | undefined, joinToken: boolean): Plan {
  const data = resolve(answers.directory, answers.dataDirectory);
  const hasKeys = answers.kind !== "agent" && new KeyStore(data).exists;
  const makesKeys = answers.kind !== "agent" && answers.keys && !hasKeys;
  const actions: string[] = [];
  const files = planFiles(answers);
  const foreign = foreignDataDirectory(answers);
  if (foreign !== undefined)
    actions.push(
      `data: in ${foreign}, OUTSIDE of the project, because CDKTR_APP_DATA_DIRECTORY is set in the environment`,
    );
  if (makesKeys)
    actions.push(`keys: the principal's and its admin's, in ${join(answers.dataDirectory, "keys")}`);
  if (answers.kind !== "agent" && answers.keys && hasKeys)
    actions.push(`keys: the existing ones in ${join(answers.dataDirectory, "keys")} stay in use`);
  if (answers.kind !== "agent" && answers.editor !== undefined) {
    const { current } = files.find(({ path }) => path === EDITOR_SETTINGS_PATH) ?? {};
    const wanted = editorSettings(answers.workflowDirectory);
    if (withEditorSettings(current, wanted) === null)
      actions.push(
        `editor: ${EDITOR_SETTINGS_PATH} cannot be read as JSON and stays as it is; add to it: ${JSON.stringify(wanted)}`,
      );
  }
  if (answers.kind === "agent") actions.push(principalLine(answers, token !== undefined));
  if (answers.service !== undefined) {
    const role = answers.kind === "agent" ? "agent" : "principal";
    const { user, runAs } = answers.service;
    actions.push(
      `service: cdktr-${role}.service, ${user ? "of this user" : `run as ${runAs}`}, started now and at each boot`,
    );
  }
  if (joinToken) actions.push("join token: for one agent on another host, valid for an hour");
  return { answers, files, actions, makesKeys, token, joinToken };
}

function principalLine(
  { principal, principalAnswered, logsListeningPort }: AgentAnswers,
  joins: boolean,
): string {
  const address = `${principal.host}:${principal.port}`;
  if (joins) return `join: get a key from the principal at ${address}`;
  if (principalAnswered)
    return `principal: answers at ${address}, accepts log lines on port ${logsListeningPort}`;
  return `principal: does NOT answer at ${address} now; port ${logsListeningPort} for log lines is a guess`;
}

/**
 * Carries out the plan: all files and keys at once, then the service.
 * @param decisions what to do with files that differ
 * @throws CdktrError when it failed or was interrupted: see {@link writeProject} and {@link finishProject}
 */
export async function setUp(plan: Plan, decisions: ReadonlyMap<string, Decision>): Promise<Done> {
  const written = await writeProject(plan, decisions);
  return finishProject(plan, written);
}

/**
 * Writes the files and the keys, and joins the principal: all of it or nothing.
 * @returns the files that were written
 * @throws CdktrError when it failed or was interrupted; then nothing was written
 */
export async function writeProject(
  plan: Plan,
  decisions: ReadonlyMap<string, Decision>,
): Promise<readonly PlannedFile[]> {
  const { answers, makesKeys, token } = plan;
  const toWrite = filesToWrite(plan.files, decisions);
  const interruption = Promise.withResolvers<never>();
  // Nothing may be awaiting it yet.
  interruption.promise.catch(() => {});
  // Before there is anything that a signal could leave behind.
  const ignoreSignals = onStopSignals(() => interruption.reject(new Interrupted()));
  let staging: Staging | undefined;
  try {
    staging = Staging.open(answers.directory);
    const isInside = !answers.dataDirectory.startsWith("/");
    if (isInside) staging.makePrivateDirectory(answers.dataDirectory);
    const owner = ownerOf(answers);
    for (const { path, text, mode } of toWrite)
      staging.write(path, text, mode, mode === 0o600 ? owner : undefined);
    const data = isInside ? join(staging.root, answers.dataDirectory) : answers.dataDirectory;
    const deed = { action: "key.init", subject: "admin" };
    const place = resolve(answers.directory, answers.dataDirectory);
    // A new data directory appears with its record; one that is there may have others.
    const isNew = !existsSync(place);
    if (makesKeys) {
      new KeyStore(data).init(Date.now());
      if (isNew) recordDeed(data, deed);
    }
    // A system service joins as its own user when it is installed.
    if (token !== undefined && !isHostService(answers))
      await Promise.race([joinInto(plan, token, staging, data), interruption.promise]);
    // Lets pending signals be delivered here.
    await Promise.race([pause(0), interruption.promise]);
    staging.commit();
    if (makesKeys && !isNew) recordDeed(place, deed);
    return toWrite;
  } finally {
    ignoreSignals();
    staging?.discard();
  }
}

/**
 * Finishes a project that has been written: the service, a join token, and the next steps.
 * @throws CdktrError saying what was done and what was not
 */
export async function finishProject(plan: Plan, written: readonly PlannedFile[]): Promise<Done> {
  const { answers, files } = plan;
  const serviceRuns = answers.service !== undefined;
  if (serviceRuns) await installService(plan);
  const joinToken = plan.joinToken ? newJoinToken(answers) : undefined;
  return {
    written: written.map(({ path }) => path),
    kept: files.filter((file) => file.state === "differs" && !written.includes(file)).map(({ path }) => path),
    unchanged: files.filter(({ state }) => state === "same").map(({ path }) => path),
    joinToken,
    next: nextSteps(answers, {
      program: programName(),
      cwd: process.cwd(),
      serviceRuns,
      endsAtLogout:
        answers.service?.user === true && !existsSync(`/var/lib/systemd/linger/${currentUser().name}`),
    }),
  };
}

/** The owner for private files: the user that a system service runs as. */
function ownerOf(answers: Answers): { uid: number; gid: number } | undefined {
  return isHostService(answers) && answers.service !== undefined
    ? userNamed(answers.service.runAs)
    : undefined;
}

/** Gets the agent's key into the project being written, or checks the existing one. */
async function joinInto(plan: Plan, token: string, staging: Staging, data: string): Promise<void> {
  const { answers } = plan;
  if (answers.kind !== "agent") return;
  const present = resolve(answers.directory, answers.dataDirectory);
  const hasKey = existsSync(join(present, "keys", "agent.key"));
  // The principal's address comes from the answers alone, not from .env or the environment.
  const { host, port } = answers.principal;
  const { values } = settingsIn(answers.directory);
  const loaded = loadConfig(
    {
      CDKTR_PRINCIPAL_HOST: host,
      CDKTR_PRINCIPAL_PORT: port,
      CDKTR_APP_DATA_DIRECTORY: hasKey ? present : data,
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: values.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
    },
    {},
    staging.root,
  );
  // The message would name the staging directory, which is about to be renamed.
  setLogLevel("WARN");
  await joinPrincipal(token, loaded);
}

/** @throws UnprocessableError with the output of the installation when the service could not be set up; the project exists by then */
async function installService({ answers, token }: Plan): Promise<void> {
  const { service, directory } = answers;
  if (service === undefined) return;
  const [role, ...args] =
    answers.kind === "agent"
      ? ["agent", ...Object.entries(answers.labels).flatMap(([key, value]) => ["--label", `${key}=${value}`])]
      : startArguments(answers);
  const joins = token !== undefined && !service.user;
  const command = [
    ...selfCommand(),
    "service",
    "install",
    role ?? "",
    // The arguments are complete: nothing from an existing unit is kept.
    "--fresh",
    "--directory",
    directory,
    ...(service.user ? ["--user"] : ["--run-as", service.runAs]),
    ...(joins ? ["--join", "-"] : []),
    "--",
    ...args,
  ];
  const child = Bun.spawn(command, {
    cwd: directory,
    stdin: joins ? Buffer.from(token) : "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const [status, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (status === 0) return;
  throw new UnprocessableError(
    `The project is written, but the service could not be set up:\n${said.trim()}`,
    {
      hint: `When that is fixed: cd ${shellWord(directory)} && ${[programName(), ...command.slice(selfCommand().length)].map((word, i) => (i === 0 ? word : shellWord(word))).join(" ")}`,
    },
  );
}

function newJoinToken(answers: Answers): string {
  const config = settingsIn(answers.directory);
  warnOfLoopback(config);
  const { host, port } = addressFor(config, undefined);
  const data = resolve(answers.directory, answers.dataDirectory);
  const token = { role: "agent", ttlMs: TOKEN_TTL_MS, uses: 1, nowMs: Date.now() } as const;
  const { serverKey, secretKey } = audited(
    data,
    { action: "token.create", subject: "", detail: { role: token.role, uses: token.uses, ttl: "1h" } },
    () => new KeyStore(data).createToken(token),
    ({ id }) => ({ subject: id }),
  );
  return encodeJoinToken({ host, port, serverKey, secretKey });
}
