import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { type Given, givenOf, type InitFlags } from "../../../src/cli/init/given.ts";
import { CdktrError, InvalidInputError, UsageError } from "../../../src/errors.ts";
import { encodeJoinToken } from "../../../src/protocol/join-token.ts";
import { curveKeyPair } from "../../../src/zmq/index.ts";

type Extra = Parameters<typeof givenOf>[1];

/** The answers given by flags, and nothing else. */
function given(flags: InitFlags, extra: Partial<Extra> = {}): Given {
  const all = givenOf(flags, { token: undefined, labels: {}, joinToken: false, yes: false, ...extra });
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** Why flags are refused. */
function refusal(flags: InitFlags, extra: Partial<Extra> = {}): CdktrError {
  try {
    given(flags, extra);
  } catch (error) {
    if (error instanceof CdktrError) return error;
    throw error;
  }
  throw new Error("the flags were accepted");
}

function token(): string {
  const server = curveKeyPair();
  return encodeJoinToken({
    host: "10.0.0.5",
    port: 5561,
    serverKey: server.publicKey,
    secretKey: curveKeyPair().secretKey,
  });
}

test("answers without a flag stay open", () => {
  expect(given({})).toEqual({});
});

describe("the kind", () => {
  test.each([
    [{ host: "0.0.0.0" }, {}, "principal"],
    [{ agent: false }, {}, "principal"],
    [{}, { joinToken: true }, "principal"],
    [{ principal: "10.0.0.5:5561" }, {}, "agent"],
    [{ "max-concurrent-workflows": "3" }, {}, "agent"],
    [{}, { labels: { zone: "b" } }, "agent"],
    [{ kind: "agent", "logs-listening-port": "7" }, {}, "agent"],
    [{ kind: "try", keys: true }, {}, "try"],
    // These go with more than one kind.
    [{ port: "5561" }, {}, undefined],
    [{ keys: true }, {}, undefined],
  ] as const)("of %j with %j is %p", (flags, extra, kind) => {
    expect(given(flags, extra).kind).toBe(kind);
  });

  test("flags of two kinds are refused, by name", () => {
    const error = refusal({ host: "0.0.0.0", principal: "10.0.0.5:1" });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain("--host and --principal");
    expect(refusal({ host: "0.0.0.0" }, { labels: { a: "b" } }).message).toContain("--label");
  });

  test.each([
    [{ kind: "agent", keys: true }, {}, "--keys", "--kind agent"],
    [{ kind: "try", host: "0.0.0.0" }, {}, "--host", "--kind try"],
    [{ kind: "principal" }, { labels: { a: "b" } }, "--label", "--kind principal"],
    [{ kind: "try" }, { joinToken: true }, "--join-token", "--kind try"],
  ] as const)("a flag that does not go with it is refused: %j %j", (flags, extra, flag, kind) => {
    const { message } = refusal(flags, extra);
    expect(message).toStartWith(`${flag} `);
    expect(message).toContain(kind);
  });
});

describe("ports", () => {
  test("are taken as far as they are given", () => {
    expect(given({ port: "6000" }).ports).toEqual({ api: 6000 });
    expect(given({ "logs-listening-port": "6001", "logs-publishing-port": "6002" }).ports).toEqual({
      logsListening: 6001,
      logsPublishing: 6002,
    });
  });

  test.each(["0", "65536", "1.5", "x", ""])("%p is none", (port) => {
    expect(refusal({ port }).message).toContain("--port");
  });

  test("must be different", () => {
    const error = refusal({ port: "6000", "logs-publishing-port": "6000" });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain("different");
  });
});

describe("paths", () => {
  test("are made absolute, and workflows relative to the project", () => {
    expect(given({ dir: "some/project" }).directory).toBe(resolve("some/project"));
    const inside = given({ dir: "/srv/project", "workflow-dir": "/srv/project/flows/all" });
    expect(inside.workflowDirectory).toBe("flows/all");
  });

  test("workflows outside the project are refused", () => {
    expect(refusal({ dir: "/srv/project", "workflow-dir": "/srv/other" }).message).toStartWith(
      "--workflow-dir: ",
    );
    expect(refusal({ dir: "/srv/project", "workflow-dir": "../other" }).message).toStartWith(
      "--workflow-dir: ",
    );
  });
});

describe("a crontab", () => {
  test("is this user's, stdin or a file", () => {
    const crontab = (from: string) => given({ "import-crontab": from }).crontab;
    expect(crontab("own")).toEqual({ from: "own", format: "auto", user: undefined });
    expect(crontab("-")?.from).toBe("-");
    expect(crontab("jobs")?.from).toBe(resolve("jobs"));
    const system = given({
      "import-crontab": "/etc/crontab",
      "crontab-format": "system",
      "crontab-user": "bob",
    });
    expect(system.crontab).toEqual({ from: "/etc/crontab", format: "system", user: "bob" });
  });

  test("how to read it says nothing without one", () => {
    expect(refusal({ "crontab-user": "bob" }).message).toContain("--import-crontab");
    expect(refusal({ "crontab-format": "user" }).message).toContain("--import-crontab");
  });
});

describe("a service", () => {
  test("is the host's, this user's, or none", () => {
    expect(given({ service: true }).service).toEqual({ user: false, runAs: "" });
    expect(given({ service: true, "run-as": "etl" }).service).toEqual({ user: false, runAs: "etl" });
    expect(given({ service: true, user: true }).service).toEqual({ user: true, runAs: "" });
    expect(given({ service: false }).service).toBeNull();
  });

  test("its flags require it, but not each other", () => {
    expect(refusal({ user: true }).message).toContain("--service");
    expect(refusal({ "run-as": "etl" }).message).toContain("--service");
    expect(refusal({ service: true, user: true, "run-as": "etl" }).message).toContain("--run-as");
  });
});

describe("an agent", () => {
  test("has an address, its size and its labels", () => {
    const flags = { principal: "10.0.0.5:6000", "max-concurrent-workflows": "12" };
    expect(given(flags, { labels: { zone: "b" } })).toEqual({
      kind: "agent",
      principal: { host: "10.0.0.5", port: 6000 },
      concurrency: 12,
      labels: { zone: "b" },
    });
    expect(given({ principal: "10.0.0.5" }).principal).toEqual({ host: "10.0.0.5", port: undefined });
    expect(refusal({ "max-concurrent-workflows": "0" }).message).toContain("--max-concurrent-workflows");
  });

  test("has a token that is one", () => {
    const joins = token();
    expect(given({}, { token: joins })).toEqual({ kind: "agent", token: joins });
    const error = refusal({}, { token: `${joins}x!` });
    expect(error).toBeInstanceOf(InvalidInputError);
    expect(error.message).toStartWith("--join: ");
    // A secret, also when it is mistyped.
    expect(`${error.message} ${error.hint}`).not.toContain(joins);
  });
});

test("a host is checked", () => {
  expect(given({ host: "::1" }).host).toBe("::1");
  expect(refusal({ host: "not a host" }).message).toStartWith("--host: ");
});
