/**
 * Shares the keys of an installation among its members, through the store: a change of the files of keys on the host of any member reaches
 * all others within two seconds. A member that cannot reach the store goes on with what it has. The key of the secrets is not shared, because
 * it protects them from whoever reads the store: there is only its fingerprint, so that no member works with another one.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { type CdktrError, errorMessage, UnprocessableError, UsageError } from "../../errors.ts";
import { DirectoryWatch } from "../../host/directory-watch.ts";
import type { Content } from "../../protocol/doors/merge-key-files.ts";
import { SERVER_KEY } from "../../protocol/doors/merge-key-files.ts";
import type { SharedKeyFiles } from "../../protocol/doors/shared-key-files.ts";
import { BackgroundService } from "../../service.ts";

/** A file in the store. */
export interface StoredFile {
  readonly path: string;
  readonly content: Content;
}

/** The files that the store has. Every change raises its number by one. */
export interface FileStore {
  /**
   * What was changed after a number.
   * @returns the present number; it is smaller than `after` when the store was replaced by an older copy of itself
   */
  changesAfter(after: number): Promise<{ readonly number: number; readonly files: readonly StoredFile[] }>;
  /**
   * Changes files, all or none.
   * @param number that of the last change which the caller knows
   * @returns the new number; undefined when there has been a later change: then nothing is done
   */
  change(number: number, files: readonly StoredFile[]): Promise<number | undefined>;
}

/** What {@link SharedKeys} needs. */
export interface SharedKeysOptions {
  readonly files: SharedKeyFiles;
  readonly store: FileStore;
  /** Calls back when the store may have changed; returns how to end that. Changes are found without it too, within a second. */
  readonly listen?: (changed: () => void) => () => void;
  /** The file with the key of the secrets. */
  readonly secretsKeyFile: string;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

/** Events of the shared keys. */
interface SharedKeysSignals {
  /** This host and the store have the same. */
  readonly agreed: undefined;
}

/** How often both sides are looked at, ms. */
const LOOK_MS = 1000;
/** How many looks there are from one that reads all of the store to the next: its number may have gone back and forth. */
const LOOKS_AT_ALL = 60;
/** How often a change is tried again that others were faster than. */
const TRIES = 20;

/** Where the store has the fingerprint of the key of the secrets. */
const SECRETS_KEY = "secrets.key";

export class SharedKeys extends BackgroundService<SharedKeysSignals> {
  readonly name = "shared keys";
  readonly #o: SharedKeysOptions;
  /** What the store has, as far as its change of this number. */
  #there = new Map<string, Content>();
  #number = -1;
  #looks = 0;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #watch: DirectoryWatch | undefined;
  #endListening: (() => void) | undefined;
  #said = new Set<string>();
  readonly #look = this.timer(() => this.#lookAgain());

  constructor(options: SharedKeysOptions) {
    super(options.clock);
    this.#o = options;
  }

  /**
   * Makes this host and the store agree. Must be done before the keys are read.
   * @throws UsageError when this host has the keys of another installation, or not its key of the secrets
   * @throws NotPrivateError when others have access to its keys
   * @throws CdktrError when the store cannot be reached
   */
  protected override async onStart(): Promise<void> {
    this.#number = -1;
    await this.sync();
    const mismatch = this.#secretsMismatch();
    if (mismatch !== undefined) throw mismatch;
    this.#endListening = this.#o.listen?.(() => this.#lookAgain());
    this.#watch = new DirectoryWatch({
      root: this.#o.files.directory,
      relevant: (_event, path) => path === null || /\.(json|key|revoked)$/.test(path),
      changed: () => this.#lookAgain(),
      log: this.#o.log,
    });
    this.#watch.refresh();
    this.#look.every(LOOK_MS);
  }

  protected override async onStop(): Promise<void> {
    this.#watch?.close();
    this.#endListening?.();
    await this.#next?.catch(() => {});
    await this.#running?.catch(() => {});
  }

  /** What somebody must do on this host; null when all is well. */
  get problem(): string | null {
    const mismatch = this.#secretsMismatch();
    return mismatch === undefined ? null : `${mismatch.message} ${mismatch.hint ?? ""}`.trim();
  }

  /**
   * Resolves when this host and the store have the same, including what was changed on this host before the call.
   * @throws UsageError when this host has the keys of another installation
   * @throws CdktrError when the store or the files cannot be read or written
   */
  sync(): Promise<void> {
    if (this.#running === undefined) return this.#begin();
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#begin();
      });
    return this.#next;
  }

  #begin(): Promise<void> {
    const running = this.#agree().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #agree(): Promise<void> {
    const { files, store } = this.#o;
    for (let tried = 0; tried < TRIES; tried++) {
      await this.#pull();
      const { toStore, toDisk, isForeign } = files.compare(this.#there);
      if (isForeign) throw this.#foreign();
      const changes = [...toStore].map(([path, content]) => ({ path, content }));
      const fingerprint = this.#fingerprint();
      if (fingerprint !== null && this.#there.get(SECRETS_KEY) == null)
        changes.push({ path: SECRETS_KEY, content: fingerprint });
      if (changes.length > 0) {
        const number = await store.change(this.#number, changes);
        if (number === undefined) continue;
        this.#number = number;
        for (const { path, content } of changes) this.#there.set(path, content);
      }
      if (toDisk.size > 0) {
        const hasKeys = this.#hasKeys;
        const isDone = files.write(toDisk);
        if (!isDone) continue;
        if (!hasKeys && this.#hasKeys) this.#took(toDisk.size);
      }
      files.agree(this.#there);
      this.signals.emit("agreed");
      return;
    }
    throw new UnprocessableError("The keys in the store change too often to be read.");
  }

  async #pull(): Promise<void> {
    const isAll = this.#number < 0 || this.#looks++ % LOOKS_AT_ALL === 0;
    let found = await this.#o.store.changesAfter(isAll ? -1 : this.#number);
    const isOlder = found.number < this.#number;
    if (isOlder && !isAll) found = await this.#o.store.changesAfter(-1);
    if (isAll || isOlder) this.#there = new Map();
    this.#number = found.number;
    for (const { path, content } of found.files) this.#there.set(path, content);
  }

  #lookAgain(): void {
    this.#watch?.refresh();
    this.track(
      this.sync().then(
        () => {
          const { problem } = this;
          for (const topic of this.#said)
            if (problem === null || topic !== "secrets") this.#said.delete(topic);
          if (problem !== null) this.#say("secrets", problem);
        },
        (error) => this.#failed(error),
      ),
    );
  }

  #failed(error: unknown): void {
    if (error instanceof UsageError) this.#say("keys", error.message);
    else {
      const waiting = this.#waiting();
      if (waiting.length === 0) return;
      const some = waiting.slice(0, 3).join(", ") + (waiting.length > 3 ? ", …" : "");
      this.#say(
        "waiting",
        `What was changed in the keys of this host (${some}) has not reached the other members yet: ${errorMessage(error)}`,
      );
    }
  }

  /** The files of this host that the store does not have, as far as is known. */
  #waiting(): string[] {
    try {
      return [...this.#o.files.compare(this.#there).toStore.keys()];
    } catch {
      // Then they are what is wrong.
      return ["shared.json"];
    }
  }

  /** Logs something once, until all is well again. */
  #say(topic: string, text: string): void {
    if (this.#said.has(topic)) return;
    this.#said.add(topic);
    this.#o.log.warn(text);
  }

  #took(count: number): void {
    const { log } = this.#o;
    if (this.#look.isSet)
      log.warn(
        "The installation has keys now, from another member. Restart this one: until then it works without.",
      );
    else log.info(`Took the keys of the installation from the store (${count} files).`);
  }

  get #hasKeys(): boolean {
    return existsSync(`${this.#o.files.directory}/${SERVER_KEY}`);
  }

  #foreign(): CdktrError {
    const { directory } = this.#o.files;
    return new UsageError(`${directory} holds the keys of another installation than the store does.`, {
      hint: `A new member takes the keys of the installation from the store: move ${directory} away, and start again.`,
    });
  }

  /** What is wrong with this host's key of the secrets. */
  #secretsMismatch(): UsageError | undefined {
    const { secretsKeyFile } = this.#o;
    const wanted = this.#there.get(SECRETS_KEY);
    const own = this.#fingerprint();
    if (wanted == null || wanted === own) return undefined;
    const hint = `Copy the file that CDKTR_SECRETS_KEY_FILE names (secrets.key in the data directory) from another member to ${secretsKeyFile}, with mode 0600.`;
    return own === null
      ? new UsageError(
          `The installation has secrets, and this member lacks their key: there is no ${secretsKeyFile}.`,
          { hint },
        )
      : new UsageError(`${secretsKeyFile} is not the key of the installation's secrets.`, { hint });
  }

  #fingerprint(): string | null {
    let key: Buffer;
    try {
      key = readFileSync(this.#o.secretsKeyFile);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
    return createHash("sha256")
      .update("fingerprint of a key of secrets\n")
      .update(key.toString().trim())
      .digest("hex");
  }
}
