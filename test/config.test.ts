import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";

const directory = mkdtempSync(join(tmpdir(), "cdktr-config-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe("settings", () => {
  test("defaults", () => {
    const { values, sources } = loadConfig({}, { HOME: "/home/op" }, directory);
    expect(values.CDKTR_PRINCIPAL_PORT).toBe(5561);
    expect(values.CDKTR_PRINCIPAL_HOST).toBe("127.0.0.1");
    expect(values.CDKTR_LOG_FLUSH_INTERVAL_MS).toBe(30_000);
    expect(values.CDKTR_DB_PATH).toBe(join(values.CDKTR_APP_DATA_DIRECTORY, "app.db"));
    expect(sources.CDKTR_PRINCIPAL_PORT).toBe("default");
  });

  test("flags win over the environment, which wins over .env", () => {
    writeFileSync(
      join(directory, ".env"),
      "CDKTR_PRINCIPAL_PORT=1001\nCDKTR_LOGS_LISTENING_PORT=1002\nCDKTR_LOGS_PUBLISHING_PORT=1003\n",
    );
    const { values, sources } = loadConfig(
      { CDKTR_PRINCIPAL_PORT: 3001, CDKTR_LOGS_LISTENING_PORT: undefined },
      { CDKTR_PRINCIPAL_PORT: "2001", CDKTR_LOGS_LISTENING_PORT: "2002" },
      directory,
    );
    expect([values.CDKTR_PRINCIPAL_PORT, sources.CDKTR_PRINCIPAL_PORT]).toEqual([3001, "flag"]);
    expect([values.CDKTR_LOGS_LISTENING_PORT, sources.CDKTR_LOGS_LISTENING_PORT]).toEqual([
      2002,
      "environment",
    ]);
    expect([values.CDKTR_LOGS_PUBLISHING_PORT, sources.CDKTR_LOGS_PUBLISHING_PORT]).toEqual([1003, ".env"]);
  });

  test.each([
    ["CDKTR_PRINCIPAL_PORT", "http"],
    ["CDKTR_PRINCIPALS", "a:5561,,b:5561"],
    ["CDKTR_PRINCIPAL_PORT", "70000"],
    ["CDKTR_AGENT_MAX_CONCURRENCY", "0"],
    ["CDKTR_LOG_LEVEL", "loud"],
    ["CDKTR_DEFAULT_ZMQ_TIMEOUT_MS", "1.5"],
  ])("%s=%s names the variable, the value and the bounds", (name, value) => {
    const load = () => loadConfig({}, { [name]: value }, "/");
    expect(load).toThrow(ConfigError);
    expect(load).toThrow(`${name}="${value}" (environment)`);
  });

  test(":memory: stays what it is, paths become absolute", () => {
    expect(loadConfig({}, { CDKTR_DB_PATH: ":memory:" }, "/").values.CDKTR_DB_PATH).toBe(":memory:");
    expect(
      loadConfig({}, { CDKTR_APP_DATA_DIRECTORY: "state" }, "/srv").values.CDKTR_APP_DATA_DIRECTORY,
    ).toBe("/srv/state");
  });

  test("~ and $HOME at the beginning of a path are the home directory", () => {
    writeFileSync(join(directory, ".env"), "CDKTR_DB_PATH=~/history.db\nCDKTR_WORKFLOW_DIR=$HOME/flows\n");
    const environment = {
      HOME: "/home/op",
      CDKTR_APP_DATA_DIRECTORY: `\${HOME}/state`,
      CDKTR_KEY_FILE: "~op/key",
    };
    const { values } = loadConfig({ CDKTR_CACHE_DIRECTORY: "~" }, environment, directory);
    expect(values).toMatchObject({
      CDKTR_DB_PATH: "/home/op/history.db",
      CDKTR_WORKFLOW_DIR: "/home/op/flows",
      CDKTR_APP_DATA_DIRECTORY: "/home/op/state",
      CDKTR_CACHE_DIRECTORY: "/home/op",
      CDKTR_KEY_FILE: join(directory, "~op/key"),
    });
  });

  test("variables that are named like settings and are none", () => {
    writeFileSync(join(directory, ".env"), "CDKTR_PRINCIPAL_PROT=1\nOTHER=2\n");
    const { unknown } = loadConfig({}, { CDKTR_WORKFLOWS_DIR: "x", CDKTR_LOG_LEVEL: "INFO" }, directory);
    expect([...unknown]).toEqual([
      ["CDKTR_PRINCIPAL_PROT", ".env"],
      ["CDKTR_WORKFLOWS_DIR", "environment"],
    ]);
  });
});
