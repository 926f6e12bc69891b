/** The secrets of webhooks. Secret files are read when a workflow refers to them and when they change, not during a request. */
import type { ConsolaInstance } from "consola";
import { type FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import { Timer } from "../../timer.ts";

const MAX_BYTES = 64 * 1024;
/** Interval at which files are read again, in case a change caused no file event, ms. */
const REFRESH_MS = 60_000;

interface SecretFile {
  readonly path: string;
  /** The secret, or why it could not be read. */
  found: Promise<string | Error>;
  /** The latest attempt to read it. */
  reading: Promise<unknown>;
  /** Whether it does not respond; then it is not accessed until it does. */
  isSilent: boolean;
}

/** Reads and watches the secret files through a helper process with a deadline. */
export class WebhookSecrets {
  readonly #log: ConsolaInstance;
  readonly #files = new Map<string, SecretFile>();
  readonly #refresh = new Timer(() => this.#readAll());
  readonly #helper: FileHelper;

  constructor(helper: FileHelper, log: ConsolaInstance) {
    this.#helper = helper;
    this.#log = log;
    helper.signals.on("changed", (place) => void this.#readAgain(place));
    // A new helper only watches what it has read.
    helper.signals.on("restarted", () => this.#readAll());
  }

  /** Sets the places that the current workflows refer to. */
  keep(places: ReadonlySet<string>): void {
    for (const place of this.#files.keys()) {
      if (places.has(place)) continue;
      this.#forget(place);
    }
    for (const place of places) {
      if (!place.startsWith("file:") || this.#files.has(place)) continue;
      const file: SecretFile = {
        path: place.slice("file:".length),
        found: Promise.resolve(""),
        reading: Promise.resolve(),
        isSilent: false,
      };
      this.#files.set(place, file);
      file.found = this.#read(place, file);
      file.reading = file.found;
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
    for (const place of this.#files.keys()) this.#forget(place);
  }

  #forget(place: string): void {
    this.#files.delete(place);
    this.#helper.ask("forget", { key: place }).catch(() => {});
  }

  #readAll(): void {
    for (const place of this.#files.keys()) void this.#readAgain(place);
  }

  async #readAgain(place: string): Promise<void> {
    const file = this.#files.get(place);
    await file?.reading;
    if (file === undefined || file.isSilent) return;
    const reading = this.#read(place, file);
    file.reading = reading;
    const found = await reading;
    // While the file does not respond, the last secret stays valid.
    if (!(found instanceof PathSilentError) || (await file.found) instanceof Error)
      file.found = Promise.resolve(found);
  }

  async #read(place: string, file: SecretFile): Promise<string | Error> {
    const { path } = file;
    try {
      const [found] = await this.#helper.ask("read", { key: place, paths: [path], maxBytes: MAX_BYTES });
      if (found?.kind === "file") return Buffer.from(found.base64, "base64").toString("utf8").trimEnd();
      throw new Error(found?.kind === "failed" ? found.message : PROBLEMS[found?.kind ?? "other"]);
    } catch (error) {
      const problem = error instanceof Error ? error : new Error(String(error));
      this.#log.error(`The secret of a webhook cannot be read: ${path}: ${problem.message}`);
      if (problem instanceof PathSilentError) {
        file.isSilent = true;
        void problem.answers.then(() => {
          file.isSilent = false;
          void this.#readAgain(place);
        });
      }
      return problem;
    }
  }
}

const PROBLEMS = {
  directory: "it is a directory",
  other: "it is not a regular file",
  "too large": `it is larger than ${MAX_BYTES / 1024} KiB`,
};
