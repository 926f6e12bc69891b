/** The one way to connect to a principal: its address and the key come from the settings. */
import type { Config } from "../config.ts";
import { reachableHost } from "../host/addresses.ts";
import { type ClientOptions, PrincipalClient } from "./client.ts";
import type { CurveClientKeys } from "./handshake.ts";
import { type KeyPurpose, loadCurveKeys } from "./key-file.ts";

/** The settings that a connection needs. */
export type ConnectConfig = Pick<
  Config,
  | "CDKTR_KEY_FILE"
  | "CDKTR_APP_DATA_DIRECTORY"
  | "CDKTR_PRINCIPAL_HOST"
  | "CDKTR_PRINCIPAL_PORT"
  | "CDKTR_DEFAULT_ZMQ_TIMEOUT_MS"
>;

/** Whose key file to use; or the keys themselves, undefined for none. */
export type ConnectRole = KeyPurpose | { readonly keys: CurveClientKeys | undefined };

/**
 * Creates a client for the principal in the settings; it connects at its first request.
 * @param other overrides the settings
 * @throws NotFoundError, NotPrivateError, InvalidInputError when the key file cannot be used
 */
export function connect(
  config: ConnectConfig,
  role: ConnectRole,
  other: Partial<Omit<ClientOptions, "curve">> = {},
): PrincipalClient {
  return new PrincipalClient(clientOptions(config, role, other));
}

/** The options with which {@link connect} creates a client. */
export function clientOptions(
  config: ConnectConfig,
  role: ConnectRole,
  other: Partial<Omit<ClientOptions, "curve">> = {},
): ClientOptions {
  const curve = typeof role === "string" ? loadCurveKeys(config, role) : role.keys;
  return {
    ...(curve === undefined ? {} : { curve }),
    attempts: other.attempts ?? 1,
    host: reachableHost(other.host ?? config.CDKTR_PRINCIPAL_HOST),
    port: other.port ?? config.CDKTR_PRINCIPAL_PORT,
    timeoutMs: other.timeoutMs ?? config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
  };
}
