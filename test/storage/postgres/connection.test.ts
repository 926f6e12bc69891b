import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { CdktrError } from "../../../src/errors.ts";
import { PostgresConnection } from "../../../src/storage/postgres/connection.ts";
import {
  OutcomeUnknownError,
  PostgresRefusedError,
  PostgresUnavailableError,
} from "../../../src/storage/postgres/errors.ts";
import { parseStoreUrl } from "../../../src/storage/postgres/url.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";

/** A guard against hanging. */
const PATIENCE_MS = 60_000;

async function connect(url: string, passwordFile?: string): Promise<PostgresConnection & AsyncDisposable> {
  const connection = new PostgresConnection(
    parseStoreUrl(url, passwordFile === undefined ? {} : { passwordFile }),
    { application: "cdktr test" },
  );
  await connection.start();
  return Object.assign(connection, { [Symbol.asyncDispose]: () => connection.stop() });
}

/** What is wrong with an address: what is said after the first round. */
async function failureOf(url: string): Promise<CdktrError> {
  const connection = new PostgresConnection(parseStoreUrl(url), { application: "cdktr test" });
  const failed = connection.signals.next("failed");
  await connection.start();
  try {
    return await failed;
  } finally {
    await connection.stop();
  }
}

/** An authority and a certificate of a server with this name. */
async function certificates(directory: TemporaryDirectory, name: string) {
  const openssl = async (...words: string[]) => {
    const child = Bun.spawn(["openssl", ...words], { cwd: directory.root, stdout: "ignore", stderr: "pipe" });
    const said = await new Response(child.stderr).text();
    if ((await child.exited) !== 0) throw new Error(said);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  await openssl(
    "req",
    "-x509",
    ...key,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-subj",
    "/CN=Test CA",
    "-days",
    "30",
  );
  await openssl("req", ...key, "-keyout", "server.key", "-out", "server.csr", "-subj", `/CN=${name}`);
  await Bun.write(directory.path("names"), `subjectAltName=DNS:${name}`);
  await openssl(
    ..."x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile names".split(
      " ",
    ),
  );
  const read = (file: string) => Bun.file(directory.path(file)).text();
  return { certificate: await read("server.pem"), key: await read("server.key") };
}

describe("the connection to PostgreSQL", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test("int8 comes as a number, and a statement that is refused says why", async () => {
    await using pg = await connect(server.url());
    await pg.connected(PATIENCE_MS);
    const rows = await pg.query(
      "SELECT $1::bigint + 1 AS a, null::bigint AS b, 'x' AS c",
      [1_700_000_000_000],
    );
    expect(rows).toEqual([{ a: 1_700_000_000_001, b: null, c: "x" }]);
    const refused = await pg.query("SELECT 1 / 0").catch((error) => error);
    expect(refused).toBeInstanceOf(PostgresRefusedError);
    expect(refused).toMatchObject({ code: "22012" });
    expect(refused.message).toBe(`PostgreSQL at 127.0.0.1:${server.port} refused: division by zero.`);
    expect(pg.isUp).toBe(true);
  });

  test("a session of one's own has transactions, which a failure rolls back", async () => {
    await using pg = await connect(server.url({ database: await server.database() }));
    await pg.connected(PATIENCE_MS);
    await using session = await pg.session();
    await session.query("CREATE SCHEMA cdktr");
    const create = () => session.query("CREATE TABLE kept (n int)");
    await session.transaction("BEGIN", create);
    const failed = session.transaction("BEGIN", async () => {
      await session.query("CREATE TABLE lost (n int)");
      throw new Error("changed my mind");
    });
    await expect(failed).rejects.toThrow("changed my mind");
    expect(
      await pg.query("SELECT to_regclass('kept') IS NULL AS kept, to_regclass('lost') IS NULL AS lost"),
    ).toEqual([{ kept: false, lost: true }]);
  });

  test("it listens, and says when something may have been missed", async () => {
    await using pg = await connect(server.url());
    await pg.connected(PATIENCE_MS);
    const heard: (string | null)[] = [];
    let wake = () => {};
    const next = async (count: number) => {
      while (heard.length < count) await new Promise<void>((resolve) => (wake = resolve));
    };
    const end = pg.listen("cdktr_test", (payload) => {
      heard.push(payload);
      wake();
    });
    await next(1);
    await pg.query("SELECT pg_notify('cdktr_test', 'one')");
    await next(2);
    const isUp = pg.signals.next("up");
    await server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cdktr'");
    await isUp;
    await next(3);
    end();
    expect(heard).toEqual([null, "one", null]);
  });

  test("a statement without an answer has an unknown outcome, the next ones are not sent, until it is back", async () => {
    await using pg = await connect(server.url());
    await pg.connected(PATIENCE_MS);
    const isDown = pg.signals.next("down");
    server.pause();
    const [late, second] = await Promise.all([
      pg.query("SELECT 1", [], { timeoutMs: 100 }).catch((error) => error),
      pg.query("SELECT 2").catch((error) => error),
    ]);
    expect(late).toBeInstanceOf(OutcomeUnknownError);
    expect(late.message).toBe(`PostgreSQL at 127.0.0.1:${server.port} has not answered within 0.1 s.`);
    expect(second).toBeInstanceOf(OutcomeUnknownError);
    await isDown;
    const unsent = await pg.query("SELECT 1").catch((error) => error);
    expect(unsent).toBeInstanceOf(PostgresUnavailableError);
    expect(unsent.message).toBe(late.message);
    server.resume();
    await pg.connected(PATIENCE_MS);
    expect(await pg.query("SELECT 3 AS n")).toEqual([{ n: 3 }]);
  });

  test("a session that the server ends in a statement has an unknown outcome", async () => {
    await using pg = await connect(server.url());
    await pg.connected(PATIENCE_MS);
    const isUp = pg.signals.next("up");
    const ended = await pg.query("SELECT pg_terminate_backend(pg_backend_pid())").catch((error) => error);
    expect(ended).toBeInstanceOf(OutcomeUnknownError);
    expect(ended.message).toStartWith(
      `The connection to PostgreSQL at 127.0.0.1:${server.port} was lost: terminating connection due to administrator command`,
    );
    await isUp;
  });

  test("it waits for a server that is not there yet, and comes back after a restart", async () => {
    await server.stop();
    expect((await failureOf(server.url())).message).toBe(
      `PostgreSQL at 127.0.0.1:${server.port}: it does not accept connections.`,
    );
    await using pg = await connect(server.url());
    const early = await pg.connected(1).catch((error) => error);
    expect(early).toBeInstanceOf(PostgresUnavailableError);
    await server.startAgain();
    await pg.connected(PATIENCE_MS);
    const isUp = pg.signals.next("up");
    await server.restart();
    await isUp;
    expect(await pg.query("SELECT 4 AS n")).toEqual([{ n: 4 }]);
  });

  test("the password's file is read for each connection", async () => {
    using directory = new TemporaryDirectory();
    const path = directory.path("password");
    await server.sql("CREATE ROLE rotated LOGIN PASSWORD 'one'");
    await Bun.write(path, "one\n");
    await using pg = await connect(
      server.url({ user: "rotated", password: "zero", database: "postgres" }),
      path,
    );
    await pg.connected(PATIENCE_MS);
    await server.sql("ALTER ROLE rotated PASSWORD 'two'");
    await Bun.write(path, "two\n");
    const isUp = pg.signals.next("up");
    await server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'");
    await isUp;
  });

  test("what is wrong is said, with what to do", async () => {
    const at = `PostgreSQL at 127.0.0.1:${server.port}`;
    expect(await failureOf(server.url({ password: "wrong" }))).toMatchObject({
      message: `${at}: password authentication failed for user "cdktr".`,
      hint: "Look at the user and password in the URL, or in CDKTR_STORE_PASSWORD_FILE.",
    });
    // Waiting does not help: nobody waits. The test's deadline is shorter than this one.
    await using refused = await connect(server.url({ password: "wrong" }));
    await expect(refused.connected(600_000)).rejects.toThrow(/password authentication failed/);
    expect(await failureOf(server.url({ database: "nowhere" }))).toMatchObject({
      message: `${at}: database "nowhere" does not exist.`,
      hint: 'Create it as a superuser: CREATE DATABASE "nowhere"; GRANT CREATE ON DATABASE "nowhere" TO "cdktr".',
    });
    expect(await failureOf(server.url({ parameters: { sslmode: "require" } }))).toMatchObject({
      message: `${at}: it does not speak TLS, which sslmode=require asks for.`,
    });
    expect(
      await failureOf(server.url({ parameters: { sslmode: "verify-full", sslrootcert: "/nowhere/ca.pem" } })),
    ).toMatchObject({
      message: expect.stringMatching(/^A certificate for PostgreSQL cannot be read: ENOENT/),
    });
    expect(await failureOf("postgres://cdktr@no-such-host.invalid/cdktr")).toMatchObject({
      message: "PostgreSQL at no-such-host.invalid:5432: its name is not known.",
      hint: "Look at the host's name in the URL, and at DNS.",
    });
  });
});

test("TLS verifies the server's certificate and name", async () => {
  using directory = new TemporaryDirectory();
  const tls = await certificates(directory, "localhost");
  await using server = await PostgresServer.start({ tls });
  const sslrootcert = directory.path("ca.pem");
  const url = (host: string, parameters: Record<string, string>) =>
    server.url({ parameters }).replace("127.0.0.1", host);
  const isEncrypted = async (target: string) => {
    await using pg = await connect(target);
    await pg.connected(PATIENCE_MS);
    const rows = await pg.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    return rows[0]?.ssl;
  };
  expect(await isEncrypted(url("localhost", { sslmode: "verify-full", sslrootcert }))).toBe(true);
  expect(await isEncrypted(url("127.0.0.1", { sslmode: "verify-ca", sslrootcert }))).toBe(true);
  expect(await isEncrypted(url("127.0.0.1", { sslmode: "require" }))).toBe(true);
  expect(await isEncrypted(url("127.0.0.1", {}))).toBe(true);
  expect(await isEncrypted(url("127.0.0.1", { sslmode: "disable" }))).toBe(false);
  const misnamed = await failureOf(url("127.0.0.1", { sslmode: "verify-full", sslrootcert }));
  expect(misnamed.message).toMatch(/does not match|altnames/);
  const untrusted = await failureOf(url("localhost", { sslmode: "verify-full" }));
  expect(untrusted.message).toContain("certificate");
});

test("among several hosts it finds the primary, the standby after it was promoted, and never the old one again", async () => {
  await using primary = await PostgresServer.start();
  const standby = await primary.standby("b");
  await primary.synchronous("b");
  const hosts = `${standby.host}:${standby.port},${primary.host}:${primary.port}`;
  const url = primary.url().replace(`${primary.host}:${primary.port}`, hosts);
  await using pg = await connect(url);
  await pg.connected(PATIENCE_MS);
  expect(pg.host?.port).toBe(primary.port);

  expect((await failureOf(standby.url())).message).toBe(
    `PostgreSQL at 127.0.0.1:${standby.port}: it is a standby, and takes no changes.`,
  );

  await primary.kill();
  const isUp = pg.signals.next("up");
  await standby.promote();
  expect(await isUp).toMatchObject({ port: standby.port });

  // Somebody starts the old primary as it was, and the new one has a pause: it is not taken for the primary.
  await primary.startAgain();
  const isRefused = pg.signals.next("failed", ({ message }) =>
    message.includes("another one has been promoted since it was the primary"),
  );
  await standby.stop();
  await isRefused;
  await standby.startAgain();
  await pg.connected(PATIENCE_MS);
  expect(pg.host?.port).toBe(standby.port);
});
