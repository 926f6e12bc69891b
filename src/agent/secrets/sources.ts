/** Reads secrets where the task runs: from a file, a variable of the agent or the output of a command, or as the principal has sent them. */
import { resolve } from "node:path";
import type { RunAssignment } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { PathSilentError } from "../../host/file-helper/file-helper.ts";
import { withInheritedUmask } from "../../host/private-data.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import { isDoneWithin, Timer } from "../../timer.ts";
import { formatDuration } from "../../workflow/duration.ts";
import type { SecretSource } from "../../workflow/secrets.ts";
import { CannotStartError, commandFor, touchedBy } from "../executors/index.ts";
import { expandHome } from "../executors/paths.ts";
import { withoutCoreDump } from "../libc.ts";
import { signalGroup } from "../process-group.ts";
import { explainSpawnError } from "../spawn-error.ts";
import type { TaskPaths } from "../task-paths.ts";
import { starterCommand } from "../task-starter.ts";

/** The largest secret, bytes. A variable of the environment has at most 128 KiB. */
const MAX_BYTES = 64 * 1024;
/** The shortest secret, characters: a shorter one is part of many words. */
const SHORTEST = 4;
/** How long a command may take, ms. */
const COMMAND_MS = 30_000;
/** How long what a command leaves running may hold its output open, ms. */
const SETTLE_MS = 500;

/** What {@link SecretSources} needs. */
export interface SecretPlaces {
  /** The environment of the agent. */
  readonly own: Readonly<Record<string, string | undefined>>;
  /** The environment of commands. */
  readonly environment: Readonly<Record<string, string>>;
  /** The agent's working directory: the base of relative paths. */
  readonly directory: string;
  /** The paths that the agent itself does not touch. */
  readonly paths: TaskPaths;
}

/** Where the secrets of one run are. */
export class SecretSources {
  readonly #places: SecretPlaces;
  readonly #stored: NonNullable<RunAssignment["stored_secrets"]>;

  /** @param stored secrets of the principal's store, by their names there */
  constructor(places: SecretPlaces, stored: NonNullable<RunAssignment["stored_secrets"]>) {
    this.#places = places;
    this.#stored = stored;
  }

  /**
   * Reads a secret.
   * @param name its name in the workflow, for messages
   * @param signal ends a command that is under way
   * @throws CannotStartError with the reason, which never has any of the secret
   */
  async read(name: string, source: SecretSource, signal: AbortSignal): Promise<string> {
    const what = `the secret ${name}`;
    const text = await this.#textOf(what, source, signal);
    if (text === "") throw cannot(`${what} is empty${placeOf(source)}`);
    if (text.includes("\0"))
      throw cannot(
        `${what} contains a NUL character, which no environment variable can hold`,
        "Store it in base64, and decode it in the task.",
      );
    if ([...text].length < SHORTEST)
      throw cannot(
        `${what} has fewer than ${SHORTEST} characters: it could not be hidden in the log`,
        "Use a longer one. What need not be hidden goes to env: or params:.",
      );
    return text;
  }

  async #textOf(what: string, source: SecretSource, signal: AbortSignal): Promise<string> {
    if (source.file !== undefined) return textOf(what, await this.#ofFile(what, source.file));
    if (source.env !== undefined) return this.#ofVariable(what, source.env);
    if (source.command !== undefined)
      return textOf(what, await this.#ofCommand(what, source.command, signal));
    if (source.store !== undefined) return this.#ofStore(what, source.store);
    throw cannot(`this agent does not know where ${what} is`, "The principal is newer: upgrade this agent.");
  }

  #ofVariable(what: string, variable: string): string {
    const value = this.#places.own[variable];
    if (value !== undefined) return value;
    throw cannot(
      `${what} cannot be read: there is no environment variable ${variable}`,
      `Set it for the agent (Environment= or EnvironmentFile= of its service) and restart that; for 'cdktr run FILE', set it in this shell.`,
    );
  }

  #ofStore(what: string, stored: string): string {
    const found = Object.hasOwn(this.#stored, stored) ? this.#stored[stored] : undefined;
    if (found === undefined)
      throw cannot(
        `${what} cannot be read: the principal has no secret "${stored}"`,
        `Set it with 'cdktr secrets set ${stored}'; 'cdktr secrets list' shows those that there are.`,
      );
    if ("error" in found)
      throw cannot(`${what} cannot be read from the principal's store: ${found.error}`, found.hint);
    return found.value;
  }

  async #ofFile(what: string, given: string): Promise<Uint8Array> {
    const { directory, environment, paths } = this.#places;
    const path = resolve(directory, expandHome(given, environment));
    const because = (reason: string, hint?: string) =>
      cannot(`${what} cannot be read from ${path}: ${reason}`, hint);
    let found: RegularFile;
    try {
      found = await paths.read(path, MAX_BYTES);
    } catch (error) {
      throw because(error instanceof PathSilentError ? "its mount does not answer" : errorMessage(error));
    }
    switch (found.kind) {
      case "file":
        return found.bytes;
      case "failed":
        throw because(
          FAILURES[found.code] ?? found.message,
          found.code === "EACCES" ? "The agent's user must be able to read it." : undefined,
        );
      default:
        throw because(PROBLEMS[found.kind]);
    }
  }

  /** What a command prints. Its errors are never shown: they may have the secret. */
  async #ofCommand(
    what: string,
    [program = "", ...args]: readonly string[],
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { directory, environment, paths } = this.#places;
    const config = { type: "Subprocess", cmd: program, args, working_directory: null } as const;
    const context = { directory, environment };
    const touched = touchedBy(config, context);
    const isNear =
      touched === undefined ||
      paths.barrier({ paths: touched, cwd: touched[0], searchPath: environment.PATH ?? "" }) === undefined;
    const command = isNear ? commandFor(config, context) : starterCommand({ config, directory }, environment);
    const because = (reason: string) =>
      cannot(`${what}: its command "${program}" ${reason}`, "Run it as the agent's user to see why.");
    let child: Bun.Subprocess<"ignore", "pipe", "ignore">;
    try {
      child = withInheritedUmask(() =>
        withoutCoreDump(() =>
          Bun.spawn([...command.argv], {
            cwd: command.cwd,
            env: command.env,
            stdin: "ignore",
            stdout: "pipe",
            stderr: "ignore",
            detached: true,
          }),
        ),
      );
    } catch (error) {
      const { message, hint } = explainSpawnError(error, command);
      throw cannot(`${what} has a command that cannot be started: ${message.replace(/\.$/, "")}`, hint);
    }
    const end = () => signalGroup(child.pid, "SIGKILL");
    let isLate = false;
    const limit = new Timer(() => {
      isLate = true;
      end();
    });
    limit.in(COMMAND_MS);
    signal.addEventListener("abort", end);
    try {
      const reader = child.stdout.getReader();
      const reading = readUpTo(reader, MAX_BYTES, end);
      await child.exited;
      limit.cancel();
      // What it has left running would hold its output open.
      if (!(await isDoneWithin(SETTLE_MS, reading))) {
        end();
        await reader.cancel().catch(() => {});
      }
      const printed = await reading;
      if (isLate) throw because(`has not ended after ${formatDuration(COMMAND_MS)}`);
      if (printed === undefined) throw because(`prints more than ${MAX_BYTES / 1024} KiB`);
      if (child.signalCode !== null) throw because(`was ended by ${child.signalCode}`);
      if (child.exitCode !== 0) throw because(`ended with status ${child.exitCode}`);
      return printed;
    } finally {
      limit.cancel();
      signal.removeEventListener("abort", end);
    }
  }
}

/** Reads a stream to its end. Undefined if there is more than `most` bytes; then `tooMuch` was called. */
async function readUpTo(
  reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> },
  most: number,
  tooMuch: () => void,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      length += next.value?.length ?? 0;
      if (length > most) {
        tooMuch();
        return undefined;
      }
      if (next.value !== undefined) chunks.push(next.value);
    }
  } catch {
    // Cancelled: what was read counts.
  }
  return Buffer.concat(chunks);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text without its last line break, which editors and `echo` add. */
function textOf(what: string, bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes).replace(/\r?\n$/, "");
  } catch {
    throw cannot(`${what} is not UTF-8 text`, "Store it in base64, and decode it in the task.");
  }
}

function placeOf({ file, env, command, store }: SecretSource): string {
  if (file !== undefined) return `: ${file}`;
  if (env !== undefined) return `: the variable ${env} of this agent`;
  if (command !== undefined) return `: its command "${command[0]}" prints nothing`;
  return store === undefined ? "" : ` in the principal's store`;
}

function cannot(reason: string, hint?: string): CannotStartError {
  return new CannotStartError(`Cannot start: ${reason}.`, { hint });
}

const FAILURES: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  ELOOP: "its links lead in a circle",
};

const PROBLEMS = {
  directory: "it is a directory",
  other: "it is not a regular file",
  "too large": `it is larger than ${MAX_BYTES / 1024} KiB`,
};
