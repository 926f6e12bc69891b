/** Addresses that the principal binds, and how they are reached. */

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return /^(127(\.\d{1,3}){3}|::1|localhost)$/i.test(bareHost(host));
}

/** Whether a socket bound to this listens on every address of the machine. */
export function isWildcard(host: string): boolean {
  return ["0.0.0.0", "::"].includes(bareHost(host));
}

/** The address at which a process on this machine reaches what is bound to `host`. */
export function reachableHost(host: string): string {
  if (!isWildcard(host)) return host;
  return bareHost(host) === "::" ? "::1" : "127.0.0.1";
}

/** An address as node:net takes it: IPv6 without brackets, 0.0.0.0 for `*`. */
export function bareHost(host: string): string {
  return host === "*" ? "0.0.0.0" : host.replace(/^\[(.*)\]$/, "$1");
}
