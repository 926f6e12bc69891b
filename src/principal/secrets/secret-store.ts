/**
 * The principal's secrets for tasks. They are sealed in its state; the key is in a file of its own, which no backup contains. They are only
 * ever sent to the agent that executes a task which uses them, and only by a principal that knows to whom it speaks.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { RunAssignment, SecretSummary } from "../../contract/messages.ts";
import { CdktrError, errorMessage, UnprocessableError } from "../../errors.ts";
import { checkPrivate, createPrivate } from "../../host/private-files.ts";
import { makeUndumpable } from "../../host/undumpable.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import { KEY_BYTES, seal, unseal } from "./seal.ts";

type Given = NonNullable<RunAssignment["stored_secrets"]>;

/** The key file is missing or damaged. */
class KeyUnavailableError extends UnprocessableError {}

/** What {@link SecretStore} needs. */
export interface SecretStoreOptions {
  readonly store: OperationalStore;
  /** The file with the key; it is made when the first secret is set. */
  readonly keyFile: string;
  /** Whether the principal serves anybody who can reach it: then it neither takes nor gives secrets. */
  readonly isOpen: boolean;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

export class SecretStore {
  readonly #o: SecretStoreOptions;
  #key: Uint8Array | undefined;

  constructor(options: SecretStoreOptions) {
    this.#o = options;
  }

  /** Whether the principal serves anybody who can reach it: then it neither takes nor gives secrets. */
  get isOpen(): boolean {
    return this.#o.isOpen;
  }

  /**
   * Sets a secret, which may exist.
   * @param actor whose key asked for it; null without keys
   * @throws UnprocessableError when the principal takes no secrets, or when the key is not available
   */
  async set(name: string, value: string, actor: string | null, audit: Audit = unaudited): Promise<void> {
    if (this.isOpen)
      throw new UnprocessableError(
        "This principal serves everyone without keys (--insecure), so it takes no secrets.",
        { hint: "Set up keys with 'cdktr keys init'." },
      );
    const others = (await this.list()).filter((secret) => secret.name !== name);
    const sealed = seal(this.#keyFor(others), name, value);
    const secret = { name, sealed, actor, changed_at_ms: this.#o.clock.now() };
    await this.#o.store.transact(async (tx) => {
      await tx.putSecret(secret);
      await audit(tx);
    });
    this.#o.log.info(`The secret ${name} was set${by(actor)}.`);
  }

  /** Those that there are, by name. */
  list(): Promise<SecretSummary[]> {
    return this.#o.store.read((tx) => tx.listSecrets());
  }

  /** Removes a secret, if there is one of that name. */
  async remove(name: string, actor: string | null, audit: Audit = unaudited): Promise<void> {
    const isRemoved = await this.#o.store.transact(async (tx) => {
      const isThere = await tx.dropSecret(name);
      if (isThere) await audit(tx);
      return isThere;
    });
    if (isRemoved) this.#o.log.info(`The secret ${name} was removed${by(actor)}.`);
  }

  /** Those of these names that there are, for the agent that executes the tasks which use them. Part of a unit of work. */
  async given(tx: OperationalTx, names: readonly string[]): Promise<Given> {
    const given: Given = {};
    if (this.isOpen) return given;
    for (const [name, sealed] of await tx.getSecrets(names)) given[name] = this.#open(name, sealed);
    return given;
  }

  #open(name: string, sealed: Uint8Array): Given[string] {
    try {
      const value = unseal(this.#readKey(), name, sealed);
      if (value !== null) return { value };
      const hint = `Put the key back that this state was used with, or set the secret again: cdktr secrets set ${name}`;
      return { error: `it was sealed with another key than that in ${this.#o.keyFile}`, hint };
    } catch (error) {
      const { hint } = error instanceof CdktrError ? error : {};
      return { error: errorMessage(error).replace(/\.$/, ""), ...(hint === undefined ? {} : { hint }) };
    }
  }

  /** The key; a new one if there is none and nothing was sealed with it. */
  #keyFor(others: readonly SecretSummary[]): Uint8Array {
    const { keyFile } = this.#o;
    if (others.length === 0 && this.#key === undefined && !existsSync(keyFile))
      createPrivate(keyFile, `${randomBytes(KEY_BYTES).toString("base64")}\n`);
    return this.#readKey();
  }

  /** @throws KeyUnavailableError */
  #readKey(): Uint8Array {
    if (this.#key !== undefined) return this.#key;
    const { keyFile } = this.#o;
    if (!existsSync(keyFile))
      throw new KeyUnavailableError(`The key of the secrets, ${keyFile}, is missing.`, {
        hint: "Put it back: the secrets that there are cannot be opened without it. Or remove them all with 'cdktr secrets remove', and set them again.",
      });
    checkPrivate(keyFile);
    const key = Buffer.from(readFileSync(keyFile, "utf8").trim(), "base64");
    if (key.length !== KEY_BYTES)
      throw new KeyUnavailableError(`${keyFile} does not hold a key of secrets.`, {
        hint: "Put back the file that cdktr has written.",
      });
    makeUndumpable();
    this.#key = key;
    return key;
  }
}

function by(actor: string | null): string {
  return actor === null ? "" : ` by ${actor}`;
}
