/** The secrets of webhooks. Secret files are read when a workflow refers to them and when they change, not during a request. */
import type { ConsolaInstance } from "consola";
import { FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import { Timer } from "../../timer.ts";

const MAX_BYTES = 64 * 1024;
/** Interval at which files are read again, in case a change caused no file event, ms. */
const REFRESH_MS = 60_000;

interface SecretFile {
  readonly path: string;
  /** The secret, or why it could not be read. */
  found: Promise<string | Error>;
}

/** Reads and watches the secret files through a helper process with a deadline. */
export class WebhookSecrets {
  readonly #log: ConsolaInstance;
  readonly #files = new Map<string, SecretFile>();
  readonly #refresh = new Timer(() => this.#readAll());
  #helper: FileHelper | undefined;

  constructor(log: ConsolaInstance) {
    this.#log = log;
  }

  /** Sets the places that the current workflows refer to. */
  keep(places: ReadonlySet<string>): void {
    for (const place of this.#files.keys()) {
      if (places.has(place)) continue;
      this.#files.delete(place);
      this.#helper?.ask("forget", { key: place }).catch(() => {});
    }
    for (const place of places) {
      if (!place.startsWith("file:") || this.#files.has(place)) continue;
      const file: SecretFile = { path: place.slice("file:".length), found: Promise.resolve("") };
      this.#files.set(place, file);
      file.found = this.#read(place, file.path);
    }
    if (this.#files.size > 0 && !this.#refresh.isSet) this.#refresh.every(REFRESH_MS);
  }

  /**
   * The secret at a place as written in the workflow file; null for `none`.
   * @throws Error when it is missing or empty
   */
  async get(place: string): Promise<string | null> {
    if (place === "none") return null;
    const found = place.startsWith("env:")
      ? process.env[place.slice("env:".length)]
      : await this.#files.get(place)?.found;
    if (found instanceof Error) throw found;
    if (found === undefined || found === "") throw new Error(`${place} contains no secret`);
    return found;
  }

  close(): void {
    this.#refresh.cancel();
    this.#files.clear();
    this.#helper?.close();
    this.#helper = undefined;
  }

  #readAll(): void {
    for (const place of this.#files.keys()) void this.#readAgain(place);
  }

  async #readAgain(place: string): Promise<void> {
    const file = this.#files.get(place);
    if (file === undefined) return;
    const before = await file.found;
    const found = await this.#read(place, file.path);
    // While the file does not respond, the last secret stays valid.
    if (!(found instanceof PathSilentError) || before instanceof Error) file.found = Promise.resolve(found);
  }

  async #read(place: string, path: string): Promise<string | Error> {
    try {
      const [file] = await this.#start().ask("read", { key: place, paths: [path], maxBytes: MAX_BYTES });
      if (file?.kind === "file") return Buffer.from(file.base64, "base64").toString("utf8").trimEnd();
      throw new Error(file?.kind === "failed" ? file.message : PROBLEMS[file?.kind ?? "other"]);
    } catch (error) {
      const problem = error instanceof Error ? error : new Error(String(error));
      this.#log.error(`The secret of a webhook cannot be read: ${path}: ${problem.message}`);
      if (problem instanceof PathSilentError) void problem.answers.then(() => this.#readAgain(place));
      return problem;
    }
  }

  #start(): FileHelper {
    if (this.#helper !== undefined) return this.#helper;
    this.#helper = new FileHelper();
    this.#helper.signals.on("changed", (place) => void this.#readAgain(place));
    this.#helper.signals.on("warning", (text) => this.#log.warn(text));
    return this.#helper;
  }
}

const PROBLEMS = {
  directory: "it is a directory",
  other: "it is not a regular file",
  "too large": `it is larger than ${MAX_BYTES / 1024} KiB`,
};
