/** Key files of clients and agents: one private file with everything needed to connect to a secured principal. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Config } from "../config.ts";
import { CLIENT_ROLES } from "../contract/roles.ts";
import { errorMessage, InvalidInputError, NotFoundError } from "../errors.ts";
import { checkPrivate } from "../host/private-files.ts";
import { withoutJoinTokens } from "../redaction.ts";
import { isCurveKey } from "../zmq/index.ts";
import type { CurveClientKeys } from "./handshake.ts";

const Key = z.string().refine(isCurveKey, "it is not a key of 40 characters");

/** The address of a principal that was joined, as it can be reached. */
const PrincipalAddress = z.object({
  host: z.string().min(1),
  port: z.number().int(),
  logs_listening_port: z.number().int(),
  logs_publishing_port: z.number().int(),
});

/** The content of a key file. */
export const KeyFile = z.object({
  /** The name under which the principal knows the key. */
  name: z.string().min(1),
  role: z.enum(CLIENT_ROLES),
  public_key: Key,
  secret_key: Key,
  /** The principal's public key. */
  server_key: Key,
  /** Present after joining. */
  principal: PrincipalAddress.optional(),
});
export type KeyFile = z.infer<typeof KeyFile>;

/** A key and the file it was read from. */
export interface LoadedKey {
  readonly path: string;
  readonly key: KeyFile;
}

/** The purpose of a key: an agent prefers its own key, everything else a person's key. */
export type KeyPurpose = "agent" | "client";

const CANDIDATES: Record<KeyPurpose, readonly string[]> = {
  agent: ["agent.key", "admin.key"],
  client: ["client.key", "admin.key", "agent.key"],
};

/** The directory of keys. */
export function keysDirectory(dataDirectory: string): string {
  return join(dataDirectory, "keys");
}

/**
 * The key with which this process connects: the one that CDKTR_KEY_FILE names, or the first one found in the directory of keys;
 * undefined when there is none.
 * @throws NotFoundError when CDKTR_KEY_FILE names a file that does not exist
 * @throws NotPrivateError when others than its owner have access to it
 * @throws InvalidInputError when it is not a key file
 */
export function loadKey(
  config: Pick<Config, "CDKTR_KEY_FILE" | "CDKTR_APP_DATA_DIRECTORY">,
  purpose: KeyPurpose,
): LoadedKey | undefined {
  const given = config.CDKTR_KEY_FILE;
  if (given !== "") {
    if (existsSync(given)) return readKeyFile(given);
    throw new NotFoundError(`There is no key file ${withoutJoinTokens(given)} (CDKTR_KEY_FILE).`, {
      hint: "'cdktr keys add NAME' on the principal's host creates one.",
    });
  }
  const directory = keysDirectory(config.CDKTR_APP_DATA_DIRECTORY);
  const name = CANDIDATES[purpose].find((candidate) => existsSync(join(directory, candidate)));
  if (name === undefined) return undefined;
  checkPrivate(directory);
  return readKeyFile(join(directory, name));
}

/** The keys for sockets; see {@link loadKey}. */
export function loadCurveKeys(
  config: Pick<Config, "CDKTR_KEY_FILE" | "CDKTR_APP_DATA_DIRECTORY">,
  purpose: KeyPurpose,
): CurveClientKeys | undefined {
  const loaded = loadKey(config, purpose);
  return loaded === undefined ? undefined : curveKeysOf(loaded);
}

/** The socket keys of a key file. */
export function curveKeysOf({ path, key }: LoadedKey): CurveClientKeys {
  return {
    serverKey: key.server_key,
    publicKey: key.public_key,
    secretKey: key.secret_key,
    name: key.name,
    path,
    role: key.role,
  };
}

/**
 * Reads a key file.
 * @throws NotPrivateError, InvalidInputError
 */
export function readKeyFile(path: string): LoadedKey {
  checkPrivate(path);
  return { path, key: readPrivateJson(path, KeyFile, "key file") };
}

/**
 * Reads a private JSON file. Its content never gets into a message.
 * @throws InvalidInputError
 */
export function readPrivateJson<S extends z.ZodType>(path: string, schema: S, what: string): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    // That this process has no descriptor left says nothing about the file.
    if (isOutOfDescriptors(error)) throw error;
    // The parser's message quotes the input.
    const why = error instanceof SyntaxError ? "it is not JSON" : errorMessage(error);
    throw new InvalidInputError(`${path} cannot be read as a ${what}: ${why}.`);
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const places = result.error.issues.map(({ path: place }) => place.join(".") || "the whole").join(", ");
  throw new InvalidInputError(`${path} is not a ${what}: ${places} is invalid.`, {
    hint: "Copy the complete file again from the host where it was created.",
  });
}

function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EMFILE" || error.code === "ENFILE");
}
