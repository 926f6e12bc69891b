/** Reads the secrets of channels on the principal's host, anew for each message: a password that was changed counts at once. */
import { resolve } from "node:path";
import { errorMessage } from "../../errors.ts";
import { type FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import { runProgram } from "../../host/run-program.ts";
import { makeUndumpable } from "../../host/undumpable.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { ChannelSecret } from "../../workflow/channels.ts";
import { formatDuration } from "../../workflow/duration.ts";
import type { SecretStore } from "../secrets/secret-store.ts";
import { SendError } from "./senders/sender.ts";

/** The largest secret, bytes. */
const MAX_BYTES = 64 * 1024;
/** The largest file of certificates, bytes. */
const MAX_CA_BYTES = 1024 * 1024;
/** How long a command may take, ms. */
const COMMAND_MS = 30_000;

/** What {@link ChannelSecrets} needs. */
export interface ChannelSecretsOptions {
  readonly store: Pick<OperationalStore, "read">;
  readonly secrets: Pick<SecretStore, "given">;
  /** Reads files: one whose mount does not answer holds up nobody else. */
  readonly files: Pick<FileHelper, "ask">;
  /** The principal's environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Reads them. */
export class ChannelSecrets {
  readonly #o: ChannelSecretsOptions;

  constructor(options: ChannelSecretsOptions) {
    this.#o = options;
  }

  /**
   * Reads a secret.
   * @param what it is, for messages
   * @throws SendError with the reason, which never has any of the secret
   */
  async read(what: string, source: ChannelSecret, signal: AbortSignal): Promise<string> {
    makeUndumpable();
    const text = await this.#textOf(what, source, signal);
    if (text.trim() === "") throw new SendError(`${what} is empty.`, { hint: placeOf(source) });
    if (/[\0\r\n]/.test(text))
      throw new SendError(`${what} has more than one line, or a NUL character.`, { hint: placeOf(source) });
    return text;
  }

  /** What programs get of the principal's environment: neither settings of cdktr nor these variables, which hold secrets. */
  environment(hidden: readonly string[] = []): Record<string, string> {
    const passed: Record<string, string> = {};
    for (const [name, value] of Object.entries(this.#o.env))
      if (value !== undefined && !/^(CDKTR_|NOTIFY_SOCKET$|BUN_BE_BUN$)/.test(name) && !hidden.includes(name))
        passed[name] = value;
    return passed;
  }

  /** A text, or the secret in its place. */
  async textOf(what: string, given: string | ChannelSecret, signal: AbortSignal): Promise<string> {
    return typeof given === "string" ? given : this.read(what, given, signal);
  }

  /** The certificates in a file; undefined for none. @throws SendError */
  async certificates(file: string | undefined): Promise<string | undefined> {
    if (file === undefined) return undefined;
    const text = (await this.#ofFile("ca_file", file, MAX_CA_BYTES)).toString("latin1");
    if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
    throw new SendError(`ca_file ${file} has no certificate.`, {
      hint: "It must be a PEM file, with lines -----BEGIN CERTIFICATE-----.",
    });
  }

  async #textOf(
    what: string,
    { file, env, command, store }: ChannelSecret,
    signal: AbortSignal,
  ): Promise<string> {
    if (file !== undefined) return lineOf(what, await this.#ofFile(what, file, MAX_BYTES));
    if (env !== undefined) {
      const value = this.#o.env[env];
      if (value !== undefined) return value;
      throw new SendError(`${what} cannot be read: the principal has no environment variable ${env}.`, {
        hint: "Set it (Environment= or EnvironmentFile= of its service), and restart the principal.",
      });
    }
    if (command !== undefined) return lineOf(what, await this.#ofCommand(what, command, signal));
    if (store !== undefined) return this.#ofStore(what, store);
    throw new SendError(`${what} is in a place that this cdktr does not know.`);
  }

  async #ofStore(what: string, name: string): Promise<string> {
    const given = await this.#o.store.read((tx) => this.#o.secrets.given(tx, [name]));
    const found = Object.hasOwn(given, name) ? given[name] : undefined;
    if (found === undefined)
      throw new SendError(`${what} cannot be read: the principal has no secret "${name}".`, {
        hint: `Set it with 'cdktr secrets set ${name}'; 'cdktr secrets list' shows those that there are.`,
      });
    if ("error" in found)
      throw new SendError(`${what} cannot be read from the principal's store: ${found.error}.`, {
        hint: found.hint,
      });
    return found.value;
  }

  async #ofFile(what: string, given: string, maxBytes: number): Promise<Buffer> {
    const path = resolve(given.startsWith("~/") ? `${this.#o.env.HOME ?? "~"}${given.slice(1)}` : given);
    const because = (reason: string, hint?: string) =>
      new SendError(`${what} cannot be read from ${path}: ${reason}.`, { hint });
    const [found] = await this.#o.files.ask("read", { paths: [path], maxBytes }).catch((error: unknown) => {
      throw because(error instanceof PathSilentError ? "its mount does not answer" : errorMessage(error));
    });
    switch (found?.kind) {
      case "file":
        return Buffer.from(found.base64, "base64");
      case "failed":
        throw because(
          FAILURES[found.code] ?? found.message,
          found.code === "EACCES" ? "The principal's user must be able to read it." : undefined,
        );
      case "too large":
        throw because(`it is larger than ${maxBytes / 1024} KiB`);
      default:
        throw because(found?.kind === "directory" ? "it is a directory" : "it is not a regular file");
    }
  }

  /** What a command prints. Its errors are never shown: they may have the secret. */
  async #ofCommand(what: string, argv: readonly string[], signal: AbortSignal): Promise<Buffer> {
    const because = (reason: string) =>
      new SendError(`${what}: its command "${argv[0]}" ${reason}.`, {
        hint: "Run it as the principal's user to see why.",
      });
    const ended = await runProgram(argv, {
      env: this.environment(),
      limitMs: COMMAND_MS,
      graceMs: 0,
      signal,
      outBytes: MAX_BYTES,
      endsWhenFull: true,
      errBytes: 1024,
    }).catch((error: unknown) => {
      throw because(`cannot be started: ${errorMessage(error).split("\n")[0]?.replace(/\.$/, "")}`);
    });
    if (signal.aborted) throw because("was stopped");
    if (ended.isLate) throw because(`has not ended after ${formatDuration(COMMAND_MS)}`);
    if (ended.isCut) throw because(`prints more than ${MAX_BYTES / 1024} KiB`);
    if (ended.endedBy !== null) throw because(`was ended by ${ended.endedBy}`);
    if (ended.status !== 0) throw because(`ended with status ${ended.status}`);
    return ended.out;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text without its last line break, which editors and `echo` add. */
function lineOf(what: string, bytes: Buffer): string {
  try {
    return utf8.decode(bytes).replace(/\r?\n$/, "");
  } catch {
    throw new SendError(`${what} is not UTF-8 text.`);
  }
}

function placeOf({ file, env, command, store }: ChannelSecret): string {
  if (file !== undefined) return `It is in ${file}.`;
  if (env !== undefined) return `It is the variable ${env} of the principal.`;
  if (command !== undefined) return `The command "${command[0]}" prints it.`;
  return `It is ${store} in the principal's store.`;
}

const FAILURES: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  ELOOP: "its links lead in a circle",
};
