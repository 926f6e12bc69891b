import { describe, expect, test } from "bun:test";
import { parseStoreUrl, shownHost, withoutPassword } from "../../../src/storage/postgres/url.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";

describe("the URL of the store", () => {
  test("a short one has libpq's defaults, and the schema cdktr", () => {
    const { password, ...address } = parseStoreUrl("postgres://ops@db.internal/jobs");
    expect(address).toEqual({
      hosts: [{ host: "db.internal", port: 5432 }],
      user: "ops",
      database: "jobs",
      schema: "cdktr",
      sslMode: "prefer",
      sslRootCertificate: null,
      sslCertificate: null,
      shown: "postgres://ops@db.internal/jobs",
    });
    expect(password()).toBe("");
  });

  test("a long one has hosts, escapes, TLS and a schema", () => {
    const url =
      "postgresql://o%40ps:p%2F%3A@a:6001,[fd00::1]:6002,[::1],%2Frun%2Fpostgresql/j%20obs?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslcert=c&sslkey=k&schema=two";
    const address = parseStoreUrl(url);
    expect(address).toMatchObject({
      hosts: [
        { host: "a", port: 6001 },
        { host: "fd00::1", port: 6002 },
        { host: "::1", port: 5432 },
        { host: "/run/postgresql", port: 5432 },
      ],
      user: "o@ps",
      database: "j obs",
      schema: "two",
      sslMode: "verify-full",
      sslRootCertificate: "/etc/ca.pem",
      sslCertificate: { certificate: "c", key: "k" },
    });
    expect(address.password()).toBe("p/:");
    expect(address.hosts.map(shownHost)).toEqual([
      "a:6001",
      "[fd00::1]:6002",
      "[::1]:5432",
      "/run/postgresql:5432",
    ]);
    expect(address.shown).not.toContain("p%2F");
  });

  test("the password's file wins, is read each time, and says when it is not there", async () => {
    using directory = new TemporaryDirectory();
    const path = directory.path("password");
    const { password } = parseStoreUrl("postgres://ops:old@db/jobs", { passwordFile: path });
    expect(password).toThrow(/^The password of PostgreSQL cannot be read: ENOENT/);
    await Bun.write(path, "one\n");
    expect(password()).toBe("one");
    await Bun.write(path, " two \r\n");
    expect(password()).toBe(" two ");
  });

  const mistakes: [url: string, message: string, hint: RegExp][] = [
    [
      "",
      "CDKTR_STORE_URL is no URL of PostgreSQL: it must begin with postgres://.",
      /postgres:\/\/USER@HOST/,
    ],
    [
      "mysql://u@h/d",
      "CDKTR_STORE_URL is no URL of PostgreSQL: it must begin with postgres://.",
      /USER@HOST/,
    ],
    ["postgres://h/d", "CDKTR_STORE_URL names no user.", /USER@HOST/],
    ["postgres://:secret@h/d", "CDKTR_STORE_URL names no user.", /USER@HOST/],
    ["postgres://u@h", "CDKTR_STORE_URL names no database.", /DATABASE/],
    ["postgres://u@h/", "CDKTR_STORE_URL names no database.", /DATABASE/],
    ["postgres://u@/d", "CDKTR_STORE_URL names no host.", /HOST/],
    ["postgres://u@a,,b/d", "CDKTR_STORE_URL names no host.", /HOST/],
    ["postgres://u@:5432/d", 'CDKTR_STORE_URL has a port without a host: ":5432".', /HOST/],
    ["postgres://u@h:0/d", 'CDKTR_STORE_URL has the port "0".', /1 to 65535/],
    ["postgres://u@h:65536/d", 'CDKTR_STORE_URL has the port "65536".', /1 to 65535/],
    ["postgres://u@h:pg/d", 'CDKTR_STORE_URL has the port "pg".', /1 to 65535/],
    ["postgres://u@fd00::1/d", 'CDKTR_STORE_URL has the host "fd00::1".', /brackets/],
    [
      "postgres://u:secret@x@h/d",
      "CDKTR_STORE_URL has an '@', '/' or '?' in the user's name or password.",
      /%40/,
    ],
    [
      "postgres://u:sec/ret@h/d",
      "CDKTR_STORE_URL has an '@', '/' or '?' in the user's name or password.",
      /%2F/,
    ],
    ["postgres://u:secret#@h/d", "CDKTR_STORE_URL cannot be read.", /%23/],
    ["postgres://u:secret%@h/d", "CDKTR_STORE_URL has a '%' in the password that begins no escape.", /%25/],
    ["postgres://u@h/d?schema=Jobs", 'CDKTR_STORE_URL has the schema "Jobs".', /small letters/],
    ["postgres://u@h/d?schema=pg_jobs", 'CDKTR_STORE_URL has the schema "pg_jobs".', /'pg_'/],
    ["postgres://u@h/d?sslmode=on", 'CDKTR_STORE_URL has the sslmode "on".', /verify-full/],
    [
      "postgres://u@h/d?sslrootcert=ca.pem",
      "CDKTR_STORE_URL has an sslrootcert that sslmode=prefer does not look at.",
      /sslmode=verify-full/,
    ],
    ["postgres://u@h/d?sslcert=c", "CDKTR_STORE_URL has only one of sslcert and sslkey.", /both/],
    ["postgres://u@h/d?schema=a&schema=b", 'CDKTR_STORE_URL has the parameter "schema" twice.', /once/],
    [
      "postgres://u@h/d?shema=a",
      'CDKTR_STORE_URL has a parameter that is not known: "shema".',
      /schema, sslmode/,
    ],
    [
      "postgres://u@h/d?passfile=/p",
      'CDKTR_STORE_URL has a parameter that is not known: "passfile".',
      /CDKTR_STORE_PASSWORD_FILE/,
    ],
    [
      "postgres://u@h/d?target_session_attrs=read-write",
      'CDKTR_STORE_URL has a parameter that is not known: "target_session_attrs".',
      /looks for the primary/,
    ],
  ];
  test.each(mistakes)("%s is refused", (url, message, hint) => {
    let error: { message: string; hint: string | undefined } | undefined;
    try {
      parseStoreUrl(url);
    } catch (thrown) {
      error = thrown as typeof error;
    }
    expect(error?.message).toBe(message);
    expect(error?.hint).toMatch(hint);
    expect(`${error?.message} ${error?.hint}`).not.toContain("secret");
  });

  test.each([
    ["postgres://u:secret@h/d", "postgres://u:…@h/d"],
    ["postgres://u:s@cret@h/d", "postgres://u:…@h/d"],
    ["ducklake:postgres://u:secret@h/d", "ducklake:postgres://u:…@h/d"],
    ["postgres://u@h/d?password=secret&schema=s", "postgres://u@h/d?password=…&schema=s"],
    ["postgres://h/d?user=u&password=se@cret", "postgres://h/d?user=u&password=…"],
    ["postgres://u@h:5432/d", "postgres://u@h:5432/d"],
    ["nonsense", "nonsense"],
  ])("%s is shown as %s", (url, shown) => {
    expect(withoutPassword(url)).toBe(shown);
  });
});
