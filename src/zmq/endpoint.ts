/** TCP endpoints in libzmq's syntax. */

/** `HOST:PORT`, with an IPv6 address in brackets. */
export function hostAndPort(host: string, port: number | string): string {
  return `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`;
}

/** `tcp://HOST:PORT`; when binding, port 0 means any free port. */
export function tcpEndpoint(host: string, port: number): string {
  return `tcp://${hostAndPort(host, port === 0 ? "*" : port)}`;
}

/** Whether an endpoint has an IPv6 address, which a socket only accepts with its option `ipv6`. */
export function isIpv6(endpoint: string): boolean {
  return endpoint.startsWith("tcp://[");
}
