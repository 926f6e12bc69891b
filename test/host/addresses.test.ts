import { expect, test } from "bun:test";
import { bareHost, isLoopback, isWildcard, reachableHost } from "../../src/host/addresses.ts";

test.each([
  ["127.0.0.1", { loopback: true, wildcard: false, reached: "127.0.0.1", bare: "127.0.0.1" }],
  ["127.9.9.9", { loopback: true, wildcard: false, reached: "127.9.9.9", bare: "127.9.9.9" }],
  ["LocalHost", { loopback: true, wildcard: false, reached: "LocalHost", bare: "LocalHost" }],
  ["::1", { loopback: true, wildcard: false, reached: "::1", bare: "::1" }],
  ["[::1]", { loopback: true, wildcard: false, reached: "[::1]", bare: "::1" }],
  ["0.0.0.0", { loopback: false, wildcard: true, reached: "127.0.0.1", bare: "0.0.0.0" }],
  ["*", { loopback: false, wildcard: true, reached: "127.0.0.1", bare: "0.0.0.0" }],
  ["::", { loopback: false, wildcard: true, reached: "::1", bare: "::" }],
  ["[::]", { loopback: false, wildcard: true, reached: "::1", bare: "::" }],
  ["10.0.0.5", { loopback: false, wildcard: false, reached: "10.0.0.5", bare: "10.0.0.5" }],
  ["[fd00::5]", { loopback: false, wildcard: false, reached: "[fd00::5]", bare: "fd00::5" }],
  [
    "127.example.org",
    { loopback: false, wildcard: false, reached: "127.example.org", bare: "127.example.org" },
  ],
])("%s", (host, expected) => {
  expect({
    loopback: isLoopback(host),
    wildcard: isWildcard(host),
    reached: reachableHost(host),
    bare: bareHost(host),
  }).toEqual(expected);
});
