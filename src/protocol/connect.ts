/** The one way to a principal: where it is and with which key comes from the settings. */
import type { Config } from "../config.ts";
import { reachableHost } from "../host/addresses.ts";
import { type ClientOptions, PrincipalClient } from "./client.ts";
import type { CurveClientKeys } from "./handshake.ts";
import { type KeyPurpose, loadCurveKeys } from "./key-file.ts";

/** The settings that say how to connect. */
export type ConnectConfig = Pick<
  Config,
  | "CDKTR_KEY_FILE"
  | "CDKTR_APP_DATA_DIRECTORY"
  | "CDKTR_PRINCIPAL_HOST"
  | "CDKTR_PRINCIPAL_PORT"
  | "CDKTR_DEFAULT_ZMQ_TIMEOUT_MS"
>;

/** Whose key file is used; or keys that the caller already holds, undefined for none. */
export type ConnectRole = KeyPurpose | { readonly keys: CurveClientKeys | undefined };

/**
 * A client of the principal that the settings name; it connects at its first request.
 * @param other what differs from the settings
 * @throws NotFoundError, NotPrivateError, InvalidInputError when there is something wrong with the key file
 */
export function connect(
  config: ConnectConfig,
  role: ConnectRole,
  other: Partial<Omit<ClientOptions, "curve">> = {},
): PrincipalClient {
  return new PrincipalClient(clientOptions(config, role, other));
}

/** What {@link connect} makes a client of. */
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
