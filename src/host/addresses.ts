/** Addresses to which the principal binds, and how to reach them. */

/** Whether an address can only be reached from this machine. */
export function isLoopback(host: string): boolean {
  return /^(127(\.\d{1,3}){3}|::1|localhost)$/i.test(bareHost(host));
}

/** Whether a socket bound to this address listens on every address of the machine. */
export function isWildcard(host: string): boolean {
  return ["0.0.0.0", "::"].includes(bareHost(host));
}

/** The address at which a process on this machine reaches something bound to `host`. */
export function reachableHost(host: string): string {
  if (!isWildcard(host)) return host;
  return bareHost(host) === "::" ? "::1" : "127.0.0.1";
}

/** An address in the form that node:net expects: IPv6 without brackets, 0.0.0.0 for `*`. */
export function bareHost(host: string): string {
  return host === "*" ? "0.0.0.0" : host.replace(/^\[(.*)\]$/, "$1");
}

/** The parts of an address that were given. */
interface GivenAddress {
  readonly host?: string;
  readonly port?: number;
}

/** Parses `HOST:PORT`, `HOST`, `:PORT` or `[IPV6]:PORT`; undefined for anything else. */
export function parseAddress(text: string): GivenAddress | undefined {
  const match =
    /^(?:tcp:\/\/)?(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/,[\]]*))(?::(\d{1,5}))?$/.exec(text) ??
    /^()([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)()$/.exec(text);
  const port = match?.[3];
  const host = match?.[1] || match?.[2];
  if (match === null || (!host && !port) || (port && (Number(port) < 1 || Number(port) > 65535)))
    return undefined;
  return { ...(host ? { host } : {}), ...(port ? { port: Number(port) } : {}) };
}

/** Parses addresses, separated by commas; undefined unless all are valid. An empty text has none. */
export function parseAddresses(text: string): GivenAddress[] | undefined {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.length === 1 && parts[0] === "") return [];
  const addresses = parts.map(parseAddress);
  return addresses.every((address) => address !== undefined) ? addresses : undefined;
}
