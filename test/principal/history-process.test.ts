/** The child in which the history runs, where none can be started. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import type { HistoryHost, HistorySettings } from "../../src/contract/history.ts";
import { HistoryProcess } from "../../src/principal/history/history-process.ts";
import { LogBook, temporaryDirectory } from "./support.ts";

const SETTINGS: HistorySettings = {
  db_path: ":memory:",
  data_directory: "/nowhere",
  flush_interval_ms: 1000,
  history_keep_days: null,
  archive_keep_days: null,
  host: "127.0.0.1",
  listening_port: 0,
  publishing_port: 0,
  doors: "own user",
  may_adopt: false,
  log_level: 3,
};

function bench(directory: string, command: readonly string[]) {
  const received: string[] = [];
  const book = new LogBook();
  const here: HistoryHost = {
    open: async () => {},
    start: (_, heard) => {
      heard("hello");
      return { pid: undefined, send: (text) => received.push(text), end: async () => {}, kill: () => {} };
    },
    close: () => {},
  };
  const options = { dataDirectory: directory, otherwise: async () => here, log: book.log, command };
  return { host: new HistoryProcess(options), received, book };
}

test("its socket is only for this user, and gone at the end", async () => {
  using directory = temporaryDirectory();
  const { host } = bench(directory.path, ["true"]);
  await host.open();
  const [name = ""] = readdirSync(directory.path);
  expect(statSync(`${directory.path}/${name}`).mode & 0o777).toBe(0o700);
  expect(statSync(`${directory.path}/${name}/history`).mode & 0o777).toBe(0o600);
  host.close();
  expect(readdirSync(directory.path)).toEqual([]);
});

test("a path that is too long for a socket is replaced by a short one", async () => {
  using directory = temporaryDirectory();
  const long = `${directory.path}/${"x".repeat(100)}`;
  await Bun.write(`${long}/there`, "");
  const { host } = bench(long, ["true"]);
  await host.open();
  expect(existsSync(`${long}/ipc`)).toBe(false);
  host.close();
});

test("where no program can be started, it runs here", async () => {
  using directory = temporaryDirectory();
  const { host, received, book } = bench(directory.path, [`${directory.path}/nothing`]);
  await host.open();
  const heard = Promise.withResolvers<string>();
  const peer = host.start(SETTINGS, heard.resolve, () => {});
  peer.send("first");
  expect(await heard.promise).toBe("hello");
  peer.send("second");
  expect(received).toEqual(["first", "second"]);
  expect(book.count(/No process can be started for the history/)).toBe(1);
  await peer.end();
  host.close();
});

test("so it does where there is no place for a socket, which is said once", async () => {
  const { host, book } = bench("/proc/nowhere", ["true"]);
  const { TMPDIR } = process.env;
  process.env["TMPDIR"] = "/proc/nowhere";
  try {
    await host.open();
  } finally {
    if (TMPDIR === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = TMPDIR;
  }
  for (let n = 0; n < 2; n++) {
    const heard = Promise.withResolvers<string>();
    const peer = host.start(SETTINGS, heard.resolve, () => {});
    expect(await heard.promise).toBe("hello");
    await peer.end();
  }
  expect(book.count(/runs in the principal's/)).toBe(1);
  expect(book.count(/there is no place for its socket/)).toBe(1);
  host.close();
});

test("so it does where programs end at once, without a word", async () => {
  using directory = temporaryDirectory();
  const { host, book } = bench(directory.path, ["false"]);
  await host.open();
  for (let n = 0; n < 3; n++) {
    const ended = Promise.withResolvers<string>();
    host.start(SETTINGS, () => {}, ended.resolve);
    expect(await ended.promise).toBe("status 1");
  }
  const heard = Promise.withResolvers<string>();
  host.start(SETTINGS, heard.resolve, () => {});
  expect(await heard.promise).toBe("hello");
  expect(book.count(/it exits at once/)).toBe(1);
  host.close();
});
