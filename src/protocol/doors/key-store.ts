/**
 * The keys that a principal knows, in the directory `keys` of its data: its own pair, and one file for each client and each join
 * token, so that concurrent writers do not overwrite each other's changes. Only the public keys of clients are stored.
 */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import type { Joined } from "../../contract/messages.ts";
import { CLIENT_ROLES, type ClientRole } from "../../contract/roles.ts";
import { CdktrError, InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import {
  checkPrivate,
  createPrivate,
  makePrivateDirectory,
  removeLeftovers,
  writePrivate,
} from "../../host/private-files.ts";
import { curveKeyPair, isCurveKey } from "../../zmq/index.ts";
import { type KeyFile, keysDirectory, readPrivateJson } from "../key-file.ts";

const Key = z.string().refine(isCurveKey);
const Time = z.number().int();
/** The principal's key pair, as on disk. */
export const ServerKeyFile = z.object({ public_key: Key, secret_key: Key, created_at_ms: Time });

/** A client that the principal knows. */
export const KnownClient = z.object({
  name: z.string(),
  role: z.enum(CLIENT_ROLES),
  public_key: Key,
  created_at_ms: Time,
  /** How it was registered. */
  added_by: z.enum(["keys init", "keys add", "join"]),
  revoked_at_ms: Time.nullable(),
});
export type KnownClient = z.infer<typeof KnownClient>;

/** A join token, without its secret. */
export const TokenFile = z.object({
  id: z.string(),
  role: z.enum(CLIENT_ROLES),
  public_key: Key,
  created_at_ms: Time,
  expires_at_ms: Time,
  uses: z.number().int().positive(),
  used: z.array(z.object({ public_key: Key, name: z.string(), at_ms: Time })),
});
/** The state of a join token that can no longer be used, or `valid`. */
export type TokenStatus = "valid" | "used up" | "expired" | "revoked";
export type KnownToken = z.infer<typeof TokenFile> & { readonly revoked_at_ms: number | null };

/** In a separate file, because the principal writes the token's uses while someone else may revoke it. */
const TokenRevocation = z.object({ revoked_at_ms: Time });

/** The principal's own key pair. */
export interface ServerKeys {
  readonly publicKey: string;
  readonly secretKey: string;
}

/** Valid key names: they are file names too. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** File names that are reserved for other purposes. */
const RESERVED = new Set(["principal", "agent", "client"]);
/** How long an expired token is kept, so that using it gives the right error, ms. */
const TOKEN_MEMORY_MS = 30 * 86_400_000;

/** The keys on disk. Every read goes to the disk. */
export class KeyStore {
  readonly directory: string;

  constructor(dataDirectory: string) {
    this.directory = keysDirectory(dataDirectory);
  }

  /** The directories of client and token files. */
  get clientsDirectory(): string {
    return join(this.directory, "clients");
  }

  get tokensDirectory(): string {
    return join(this.directory, "tokens");
  }

  /** Whether `keys init` has been run. */
  get exists(): boolean {
    return existsSync(this.#serverFile);
  }

  get #serverFile(): string {
    return join(this.directory, "principal.key");
  }

  /**
   * Creates the principal's key pair and the admin's key.
   * @returns the path of the admin's key file
   * @throws InvalidInputError when there are keys already
   */
  init(nowMs: number): string {
    if (this.exists) {
      throw new InvalidInputError(`There are keys already in ${this.directory}.`, {
        hint: "'cdktr keys list' shows them. To start over, move that directory away: then no agent and no client can connect until it has a new key.",
      });
    }
    for (const directory of [this.directory, this.clientsDirectory, this.tokensDirectory])
      makePrivateDirectory(directory);
    const { publicKey, secretKey } = curveKeyPair();
    const admin = curveKeyPair();
    const path = this.#keyFile("admin");
    writePrivate(
      path,
      json({
        name: "admin",
        role: "admin",
        public_key: admin.publicKey,
        secret_key: admin.secretKey,
        server_key: publicKey,
      } satisfies KeyFile),
    );
    this.#writeClient("admin", "admin", admin.publicKey, "keys init", nowMs);
    // Last, because this file means that there are keys.
    const content = { public_key: publicKey, secret_key: secretKey, created_at_ms: nowMs };
    if (!createPrivate(this.#serverFile, json(content)))
      throw new InvalidInputError(`There are keys already in ${this.directory}.`);
    return path;
  }

  /**
   * The principal's key pair.
   * @throws NotFoundError before `keys init`
   * @throws NotPrivateError, InvalidInputError
   */
  serverKeys(): ServerKeys {
    if (!this.exists) {
      throw new NotFoundError(`There are no keys in ${this.directory}.`, {
        hint: "Run 'cdktr keys init' on the principal's host, as the user and with the data directory of the principal.",
      });
    }
    checkPrivate(this.directory);
    for (const directory of [this.clientsDirectory, this.tokensDirectory]) makePrivateDirectory(directory);
    checkPrivate(this.#serverFile);
    const { public_key, secret_key } = readPrivateJson(this.#serverFile, ServerKeyFile, "principal's key");
    return { publicKey: public_key, secretKey: secret_key };
  }

  /**
   * Creates a key for a client and registers it.
   * @returns the path of the file to copy to the client's host
   * @throws InvalidInputError when the name is invalid or taken
   */
  add(name: string, role: ClientRole, nowMs: number): string {
    const { publicKey: serverKey } = this.serverKeys();
    this.#refuseName(name);
    const { publicKey, secretKey } = curveKeyPair();
    const path = this.#keyFile(name);
    const content: KeyFile = {
      name,
      role,
      public_key: publicKey,
      secret_key: secretKey,
      server_key: serverKey,
    };
    if (
      this.#client(name)?.revoked_at_ms === null ||
      !this.#writeClient(name, role, publicKey, "keys add", nowMs)
    ) {
      throw new InvalidInputError(`There is a key named ${name} already.`, {
        hint: `Choose another name, or revoke it first: cdktr keys revoke ${name}`,
      });
    }
    writePrivate(path, json(content));
    return path;
  }

  /** Removes temporary files left by a crash. */
  removeLeftovers(nowMs: number): void {
    for (const directory of [this.directory, this.clientsDirectory, this.tokensDirectory])
      removeLeftovers(directory, nowMs);
  }

  /** Changes whenever a client or a token is added, changed or removed. */
  stamp(): string {
    return [this.clientsDirectory, this.tokensDirectory]
      .map((path) => statSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? 0n)
      .join(" ");
  }

  /** All clients by name, including revoked ones. An unreadable file is reported and grants nothing. */
  clients(broken: (error: CdktrError) => void): KnownClient[] {
    return readAll(this.clientsDirectory, KnownClient, "known key", broken);
  }

  /**
   * Revokes a key.
   * @throws NotFoundError when there is none with that name
   * @throws UnprocessableError when it is already revoked
   */
  revoke(name: string, nowMs: number): KnownClient {
    this.serverKeys();
    const client = NAME.test(name) ? this.#client(name) : undefined;
    if (client === undefined)
      throw new NotFoundError(`There is no key named ${name}.`, { hint: "See 'cdktr keys list'." });
    if (client.revoked_at_ms !== null) throw new UnprocessableError(`The key ${name} is revoked already.`);
    const revoked = { ...client, revoked_at_ms: nowMs };
    writePrivate(this.#clientFile(name), json(revoked));
    return revoked;
  }

  /**
   * Creates a join token.
   * @returns its id, the principal's public key, and the secret key, which is the token
   */
  createToken(options: { role: ClientRole; ttlMs: number; uses: number; nowMs: number }): {
    id: string;
    serverKey: string;
    secretKey: string;
  } {
    const { publicKey: serverKey } = this.serverKeys();
    const { publicKey, secretKey } = curveKeyPair();
    const token: z.infer<typeof TokenFile> = {
      id: "",
      role: options.role,
      public_key: publicKey,
      created_at_ms: options.nowMs,
      expires_at_ms: options.nowMs + options.ttlMs,
      uses: options.uses,
      used: [],
    };
    for (;;) {
      const id = crypto.randomUUID().slice(0, 8);
      if (createPrivate(this.#tokenFile(id), json({ ...token, id }))) return { id, serverKey, secretKey };
    }
  }

  /** All tokens; those that expired long ago are removed. */
  tokens(nowMs: number, broken: (error: CdktrError) => void): KnownToken[] {
    return readAll(this.tokensDirectory, TokenFile, "join token", broken).flatMap((token) => {
      if (token.expires_at_ms + TOKEN_MEMORY_MS > nowMs)
        return [{ ...token, revoked_at_ms: this.#tokenRevokedAt(token.id) }];
      for (const path of [this.#tokenFile(token.id), this.#revocationFile(token.id)])
        rmSync(path, { force: true });
      return [];
    });
  }

  /**
   * Revokes a token.
   * @throws NotFoundError when there is none with that id
   * @throws UnprocessableError when it cannot be used any more anyway
   */
  revokeToken(id: string, nowMs: number): KnownToken {
    this.serverKeys();
    const failed = (error: CdktrError) => {
      throw error;
    };
    const token = this.tokens(nowMs, failed).find((known) => known.id === id);
    if (token === undefined)
      throw new NotFoundError(`There is no join token ${id}.`, { hint: "See 'cdktr join-token list'." });
    const status = tokenStatus(token, nowMs);
    if (status !== "valid" || !createPrivate(this.#revocationFile(id), json({ revoked_at_ms: nowMs })))
      throw new UnprocessableError(
        `The join token ${id} is ${status === "valid" ? "revoked" : status} already.`,
      );
    return { ...token, revoked_at_ms: nowMs };
  }

  /**
   * Registers a key with a token. Idempotent for the same key, even after a crash at any point. Only called by the principal's process.
   * @throws UnprocessableError when the token has expired, is used up or revoked, or the key was revoked in the meantime
   * @throws InvalidInputError when the key is invalid, or belongs to someone else
   */
  join(tokenKey: string, publicKey: string, wanted: string, nowMs: number): Pick<Joined, "name" | "role"> {
    // Unreadable files are reported elsewhere and grant nothing.
    const tokens = this.tokens(nowMs, () => {});
    const token = tokens.find(({ public_key }) => public_key === tokenKey);
    if (token === undefined) throw new NotFoundError("This principal does not know this join token.");
    if (!isCurveKey(publicKey)) throw new InvalidInputError("public_key is not a key of 40 characters.");
    const earlier = token.used.find(({ public_key }) => public_key === publicKey);
    const hint = "Ask for a new one: 'cdktr join-token create' on the principal's host.";
    const refuse = (why: string) => new UnprocessableError(`This join token ${why}.`, { hint });
    if (earlier === undefined && token.used.length >= token.uses) {
      const last = token.used.at(-1);
      throw refuse(
        `is used up: ${last?.name ?? "someone"} joined with it at ${isoTime(last?.at_ms ?? 0)}. If that was not you, have that key revoked`,
      );
    }
    if (token.revoked_at_ms !== null) throw refuse(`was revoked at ${isoTime(token.revoked_at_ms)}`);
    if (token.expires_at_ms <= nowMs) throw refuse(`expired at ${isoTime(token.expires_at_ms)}`);
    const known = this.clients(() => {}).find(({ public_key }) => public_key === publicKey);
    if (known !== undefined && known.revoked_at_ms !== null) {
      throw new UnprocessableError(
        `The key ${known.name}, with which this host wants to join, was revoked at ${isoTime(known.revoked_at_ms)}.`,
        { hint },
      );
    }
    if (earlier !== undefined && known !== undefined) return { name: known.name, role: known.role };
    // Public keys are not secret: the holder of a token must not be able to change the role of someone else's key.
    if (known !== undefined || tokens.some(({ public_key }) => public_key === publicKey))
      throw new InvalidInputError("public_key belongs to someone else: a new host must create its own key.");
    for (;;) {
      const name =
        earlier === undefined || this.#client(earlier.name) !== undefined
          ? this.#freeName(wanted)
          : earlier.name;
      if (earlier?.name !== name) {
        // First, because a crash in between must not leave an uncounted use.
        const used = [
          ...token.used.filter((use) => use !== earlier),
          { public_key: publicKey, name, at_ms: nowMs },
        ];
        const { revoked_at_ms: _, ...file } = token;
        writePrivate(this.#tokenFile(token.id), json({ ...file, used }));
        if (this.#tokenRevokedAt(token.id) !== null) throw refuse("was revoked just now");
      }
      // False if someone took the name at this very moment.
      if (createPrivate(this.#clientFile(name), json(clientOf(name, token.role, publicKey, "join", nowMs))))
        return { name, role: token.role };
    }
  }

  /** When a token was revoked; null if it was not. */
  #tokenRevokedAt(id: string): number | null {
    const path = this.#revocationFile(id);
    if (!existsSync(path)) return null;
    try {
      return readPrivateJson(path, TokenRevocation, "revocation of a join token").revoked_at_ms;
    } catch {
      // Whatever its content.
      return Math.trunc(statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    }
  }

  #revocationFile(id: string): string {
    return join(this.tokensDirectory, `${id}.revoked`);
  }

  #freeName(wanted: string): string {
    const cleaned = wanted
      .replace(/[^A-Za-z0-9._-]/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 100);
    const base = NAME.test(cleaned) && !RESERVED.has(cleaned) ? cleaned : `host-${cleaned}`;
    for (let number = 1; ; number++) {
      const name = number === 1 ? base : `${base}-${number}`;
      if (!existsSync(this.#clientFile(name))) return name;
    }
  }

  #refuseName(name: string): void {
    if (NAME.test(name) && !RESERVED.has(name)) return;
    throw new InvalidInputError(`A key cannot be named '${name.slice(0, 140)}'.`, {
      hint: `Letters, digits, ".", "_" and "-", starting with a letter or a digit; not ${[...RESERVED].join(", ")}.`,
    });
  }

  /** @returns false when there is one with that name that is not revoked */
  #writeClient(
    name: string,
    role: ClientRole,
    publicKey: string,
    addedBy: KnownClient["added_by"],
    nowMs: number,
  ): boolean {
    if (this.#client(name)?.revoked_at_ms != null) rmSync(this.#clientFile(name));
    return createPrivate(this.#clientFile(name), json(clientOf(name, role, publicKey, addedBy, nowMs)));
  }

  #client(name: string): KnownClient | undefined {
    const path = this.#clientFile(name);
    return existsSync(path) ? readPrivateJson(path, KnownClient, "known key") : undefined;
  }

  #keyFile(name: string): string {
    return join(this.directory, `${name}.key`);
  }

  #clientFile(name: string): string {
    return join(this.clientsDirectory, `${name}.json`);
  }

  #tokenFile(id: string): string {
    return join(this.tokensDirectory, `${id}.json`);
  }
}

function clientOf(
  name: string,
  role: ClientRole,
  publicKey: string,
  addedBy: KnownClient["added_by"],
  nowMs: number,
): KnownClient {
  return {
    name,
    role,
    public_key: publicKey,
    created_at_ms: nowMs,
    added_by: addedBy,
    revoked_at_ms: null,
  };
}

/** The state of a token. */
export function tokenStatus(token: KnownToken, nowMs: number): TokenStatus {
  if (token.revoked_at_ms !== null) return "revoked";
  if (token.used.length >= token.uses) return "used up";
  return token.expires_at_ms <= nowMs ? "expired" : "valid";
}

function readAll<S extends z.ZodType>(
  directory: string,
  schema: S,
  what: string,
  broken: (error: CdktrError) => void,
): z.output<S>[] {
  if (!existsSync(directory)) return [];
  checkPrivate(directory);
  const found: z.output<S>[] = [];
  for (const file of readdirSync(directory).sort()) {
    if (!file.endsWith(".json") || basename(file).startsWith(".")) continue;
    const path = join(directory, file);
    try {
      checkPrivate(path);
      found.push(readPrivateJson(path, schema, what));
    } catch (error) {
      // Removed between listing and reading.
      if (!existsSync(path)) continue;
      if (!(error instanceof CdktrError)) throw error;
      broken(error);
    }
  }
  return found;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
