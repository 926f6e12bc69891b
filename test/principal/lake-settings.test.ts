import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { loadConfig } from "../../src/config.ts";
import { CdktrError } from "../../src/errors.ts";
import { lakeOf, lakeSettings } from "../../src/principal/history/lake-settings.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const CATALOG = "ducklake:postgres://cdktr:hush@db1,db2:6432/ops";

function read(variables: Record<string, string>, environment: Record<string, string> = {}) {
  using directory = new TemporaryDirectory();
  const { values } = loadConfig({}, { HOME: directory.root, ...variables }, directory.root);
  return lakeSettings(values, environment);
}

function refused(variables: Record<string, string>): string {
  try {
    read(variables);
  } catch (error) {
    if (error instanceof CdktrError) return `${error.message} ${error.hint}`;
    throw error;
  }
  return "nothing is wrong";
}

test("no history is begun in a file where the former one was moved into a lake", () => {
  using directory = new TemporaryDirectory();
  const file = directory.path("app.db");
  const start = (variables: Record<string, string> = {}) =>
    lakeOf(
      loadConfig({}, { HOME: directory.root, CDKTR_DB_PATH: file, ...variables }, directory.root).values,
    );
  expect(start()).toBeUndefined();
  writeFileSync(`${file}.moved`, "");
  expect(() => start()).toThrow("The history of this principal was moved into a lake ('cdktr db move').");
  expect(start({ CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_DATA: "/srv/cdktr" })?.data).toBe("/srv/cdktr");
  // It was moved back.
  writeFileSync(file, "");
  expect(start()).toBeUndefined();
});

describe("the settings of a lake", () => {
  test("without them the history is in a file", () => {
    expect(read({})).toBeUndefined();
  });

  test("a shared directory: all hosts of the catalog, its own schema, ages as numbers", () => {
    expect(read({ CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_DATA: "/srv/cdktr" })).toEqual({
      catalog: {
        host: "db1,db2",
        port: "5432,6432",
        database: "ops",
        user: "cdktr",
        password: "hush",
        schema: "cdktr_lake",
        parameters: { sslmode: "prefer" },
      },
      data: "/srv/cdktr",
      compact_every_ms: 600_000,
      keep_snapshots_days: 1,
    });
    const other = read({
      CDKTR_HISTORY_URL: `${CATALOG}?schema=history&sslmode=verify-full&sslrootcert=/etc/ca.pem`,
      CDKTR_HISTORY_DATA: "lake",
      CDKTR_HISTORY_SNAPSHOTS_KEEP: "all",
      CDKTR_HISTORY_COMPACT_S: "60",
    });
    expect(other).toMatchObject({ compact_every_ms: 60_000, keep_snapshots_days: null });
    expect(other?.data).toMatch(/^\/.*\/lake$/);
    expect(other?.catalog).toMatchObject({
      schema: "history",
      parameters: { sslmode: "verify-full", sslrootcert: "/etc/ca.pem" },
    });
  });

  test("a bucket: of AWS with the variables of its own tools, or of another server by its address", () => {
    using directory = new TemporaryDirectory();
    const [password, secret] = ["password", "secret"].map((name) => directory.path(name)) as [string, string];
    writeFileSync(password, "from a file\n");
    writeFileSync(secret, "s3cret\n");
    const keys = { AWS_ACCESS_KEY_ID: "AKIA", AWS_SECRET_ACCESS_KEY: "aws", AWS_REGION: "eu-west-1" };
    const aws = { CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_DATA: "s3://runs/history/" };
    expect(read(aws, keys)).toMatchObject({
      data: "s3://runs/history",
      bucket: {
        endpoint: "s3.amazonaws.com",
        region: "eu-west-1",
        key_id: "AKIA",
        secret: "aws",
        is_path_style: false,
        uses_tls: true,
      },
    });
    const own = {
      ...aws,
      CDKTR_HISTORY_PASSWORD_FILE: password,
      CDKTR_S3_ENDPOINT: "http://minio:9000",
      CDKTR_S3_ACCESS_KEY_ID: "cdktr",
      CDKTR_S3_SECRET_ACCESS_KEY_FILE: secret,
    };
    expect(read(own, keys)).toMatchObject({
      catalog: { password: "from a file" },
      bucket: {
        endpoint: "minio:9000",
        region: "eu-west-1",
        key_id: "cdktr",
        secret: "s3cret",
        is_path_style: true,
        uses_tls: false,
      },
    });
  });

  const DATA = { CDKTR_HISTORY_DATA: "/srv/cdktr" };
  test.each([
    [DATA, "CDKTR_HISTORY_DATA is set, but CDKTR_HISTORY_URL is not. A lake needs both"],
    [
      { CDKTR_HISTORY_URL: CATALOG },
      "CDKTR_HISTORY_URL is set, but CDKTR_HISTORY_DATA is not. It says where",
    ],
    [
      { ...DATA, CDKTR_HISTORY_URL: "postgres://cdktr:hush@db/ops" },
      "CDKTR_HISTORY_URL is no URL of a lake: it must begin with ducklake:postgres://. Write it as ducklake:postgres://USER@HOST",
    ],
    [{ ...DATA, CDKTR_HISTORY_URL: "ducklake:/srv/catalog.db" }, "CDKTR_HISTORY_URL is no URL of a lake"],
    [
      { ...DATA, CDKTR_HISTORY_URL: "ducklake:postgres://db/ops" },
      "CDKTR_HISTORY_URL names no user. Write it as ducklake:postgres://USER@HOST",
    ],
    [
      { ...DATA, CDKTR_HISTORY_URL: "ducklake:postgres://cdktr@db/ops?password=hush" },
      "or into a file (CDKTR_HISTORY_PASSWORD_FILE).",
    ],
    [
      { CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_DATA: "s3://runs" },
      "CDKTR_HISTORY_DATA names a bucket, but there is no access key for it. Set CDKTR_S3_ACCESS_KEY_ID",
    ],
    [
      {
        CDKTR_HISTORY_URL: CATALOG,
        CDKTR_HISTORY_DATA: "s3://runs",
        CDKTR_S3_ACCESS_KEY_ID: "x",
        CDKTR_S3_SECRET_ACCESS_KEY_FILE: "/none",
      },
      "CDKTR_S3_SECRET_ACCESS_KEY_FILE cannot be read",
    ],
    [
      { ...DATA, CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_PASSWORD_FILE: "/none" },
      "The password of PostgreSQL cannot be read",
    ],
    [
      { ...DATA, CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_COMPACT_S: "5" },
      'CDKTR_HISTORY_COMPACT_S="5" (environment) is not valid: it must be a whole number of seconds, 10 to 86400 (a day).',
    ],
    [
      { ...DATA, CDKTR_HISTORY_URL: CATALOG, CDKTR_HISTORY_DATA: "https://runs" },
      'CDKTR_HISTORY_DATA="https://runs" (environment) is not valid: it must be a path, or s3://BUCKET/PREFIX.',
    ],
  ])("what is wrong is said: %p", (variables, message) => {
    const said = refused(variables);
    expect(said).toContain(message);
    expect(said).not.toContain("hush");
  });
});
