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
