/** The one way to connect to a principal, or to one of several: their addresses and the key come from the settings. */
import type { Config } from "../config.ts";
import { parseAddresses, reachableHost } from "../host/addresses.ts";
import { hostAndPort } from "../zmq/endpoint.ts";
import { type ClientOptions, PrincipalClient } from "./client.ts";
import type { CurveClientKeys } from "./handshake.ts";
import { type KeyPurpose, loadCurveKeys } from "./key-file.ts";
import type { Address } from "./members.ts";

/** The settings that a connection needs. */
export type ConnectConfig = Pick<
  Config,
  | "CDKTR_KEY_FILE"
  | "CDKTR_APP_DATA_DIRECTORY"
  | "CDKTR_PRINCIPAL_HOST"
  | "CDKTR_PRINCIPAL_PORT"
  | "CDKTR_PRINCIPALS"
  | "CDKTR_DEFAULT_ZMQ_TIMEOUT_MS"
>;

/** Whose key file to use; or the keys themselves, undefined for none. */
export type ConnectRole = KeyPurpose | { readonly keys: CurveClientKeys | undefined };

/** The settings that say where principals are. */
type AddressConfig = Pick<Config, "CDKTR_PRINCIPAL_HOST" | "CDKTR_PRINCIPAL_PORT" | "CDKTR_PRINCIPALS">;

/** Where the principal is; of an installation with several, where each of them is. A part that is missing comes from host and port. */
export function principalAddresses(config: AddressConfig): [Address, ...Address[]] {
  const { CDKTR_PRINCIPAL_HOST: byDefault, CDKTR_PRINCIPAL_PORT, CDKTR_PRINCIPALS } = config;
  const [first = {}, ...others] = parseAddresses(CDKTR_PRINCIPALS) ?? [];
  const complete = ({ host = byDefault, port = CDKTR_PRINCIPAL_PORT }: Partial<Address>): Address => ({
    host: reachableHost(host),
    port,
  });
  return [complete(first), ...others.map(complete)];
}

/** Where the principals are, for messages: `a:5561`, or `a:5561, b:5561`. */
export function addressesText(config: AddressConfig): string {
  return principalAddresses(config)
    .map(({ host, port }) => hostAndPort(host, port))
    .join(", ");
}

/**
 * Creates a client for the principal in the settings, or for one of several; it connects at its first request.
 * @param other overrides the settings; with a host or a port of its own, it knows no other address
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
  const { CDKTR_PRINCIPAL_HOST, CDKTR_PRINCIPAL_PORT } = config;
  const [first, ...others] = principalAddresses(
    other.host === undefined && other.port === undefined
      ? config
      : { CDKTR_PRINCIPAL_HOST, CDKTR_PRINCIPAL_PORT, CDKTR_PRINCIPALS: "" },
  );
  return {
    ...(others.length === 0 ? {} : { others }),
    ...other,
    ...(curve === undefined ? {} : { curve }),
    attempts: other.attempts ?? 1,
    host: other.host === undefined ? first.host : reachableHost(other.host),
    port: other.port ?? first.port,
    timeoutMs: other.timeoutMs ?? config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
  };
}
