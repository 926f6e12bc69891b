/** What commands record is taken in order and once, whoever is killed when. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { AuditLog } from "../../src/principal/audit/audit-log.ts";
import {
  type AuditLine,
  appendAudit,
  auditTaken,
  prepareAuditFiles,
  takeAudit,
} from "../../src/storage/audit-file.ts";
import type { OperationalStore } from "../../src/storage/operational/store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { silent, TestStores } from "./operational-support.ts";

setDefaultTimeout(60_000);

const line = (id: string): AuditLine => ({
  id,
  timestamp_ms: 1000,
  actor: "ops",
  action: "key.add",
  subject: `key ${id}`,
  detail: null,
  outcome: "done",
});

const fail = (text: string) => {
  throw new Error(`not a line: ${text}`);
};
const taken = (data: string) => takeAudit(data, fail).map(({ id }) => id);

test("lines are taken again until they are acknowledged, before those that came later", () => {
  using directory = new TemporaryDirectory();
  const data = directory.root;
  expect(taken(data)).toEqual([]);
  appendAudit(data, line("a"));
  appendAudit(data, line("b"));
  expect(statSync(join(data, "audit/pending.jsonl")).mode & 0o777).toBe(0o600);
  expect(statSync(join(data, "audit")).mode & 0o777).toBe(0o700);
  expect(taken(data)).toEqual(["a", "b"]);
  appendAudit(data, line("c"));
  expect(taken(data)).toEqual(["a", "b"]);
  auditTaken(data);
  expect(taken(data)).toEqual(["c"]);
  auditTaken(data);
  expect(taken(data)).toEqual([]);
  auditTaken(data);
});

test("a line that was cut off, and what is none, spoil no other", () => {
  using directory = new TemporaryDirectory();
  const data = directory.root;
  appendAudit(data, line("a"));
  appendFileSync(join(data, "audit/pending.jsonl"), '{"id":"b","timest');
  appendAudit(data, line("c"));
  appendFileSync(join(data, "audit/pending.jsonl"), "nonsense\n{}\n");
  const broken: string[] = [];
  expect(takeAudit(data, (text) => broken.push(text)).map(({ id }) => id)).toEqual(["a", "c"]);
  expect(broken).toEqual(['{"id":"b","timest', "nonsense", "{}"]);
});

test("a directory that cannot be written is told before anything is done", () => {
  using directory = new TemporaryDirectory();
  appendFileSync(join(directory.root, "audit"), "a file");
  expect(() => prepareAuditFiles(directory.root)).toThrow(/audit/);
});

const QUIET = { wake: () => {}, ticket: () => ({ wait: async () => "timeout" as const, drop: () => {} }) };

const auditLog = (store: OperationalStore, dataDirectory: string) =>
  new AuditLog({ store, dataDirectory, clock: new ManualClock(), log: silent, polls: QUIET });

const subjects = async (store: OperationalStore) =>
  (await store.takeStatuses(0, 10_000)).flatMap(({ table, row }) =>
    table === "audit_log" ? [row.subject] : [],
  );

test("a principal that is killed between any two of its steps has each line once", async () => {
  for (let failing = 1; ; failing++) {
    await using stores = new TestStores();
    using directory = new TemporaryDirectory();
    const data = directory.root;
    const store = await stores.open();
    for (const id of ["a", "b", "c"]) appendAudit(data, line(id));
    stores.failStatement(failing);
    await auditLog(store, data).takeIn();
    stores.failStatement(null);
    const isDone = !existsSync(join(data, "audit/taken.jsonl"));
    // Killed after the commit, before the file was removed: it is read again.
    if (isDone) appendFileSync(join(data, "audit/taken.jsonl"), JSON.stringify(line("b")));
    appendAudit(data, line("d"));
    const next = auditLog(store, data);
    await next.start();
    await next.takeIn();
    expect(await subjects(store)).toEqual(["key a", "key b", "key c", "key d"]);
    expect(existsSync(join(data, "audit/taken.jsonl"))).toBe(false);
    await next.stop();
    if (isDone) break;
  }
});

test("what is appended at the moment at which the file is taken is there once", async () => {
  await using stores = new TestStores();
  using directory = new TemporaryDirectory();
  const data = directory.root;
  const store = await stores.open();
  const log = auditLog(store, data);
  const script = `
    import { appendAudit } from "${join(import.meta.dir, "../../src/storage/audit-file.ts")}";
    for (let n = 0; n < 100; n++) appendAudit(${JSON.stringify(data)}, {
      id: process.argv[1] + " " + n, timestamp_ms: 1, actor: null, action: "key.add", subject: process.argv[1] + " " + n, detail: null, outcome: "done" });`;
  const children = ["x", "y"].map((name) =>
    Bun.spawn([process.execPath, "-e", script, name], { stdout: "inherit", stderr: "inherit" }),
  );
  let isWriting = true;
  const over = Promise.all(children.map(({ exited }) => exited)).then((codes) => {
    isWriting = false;
    return codes;
  });
  while (isWriting) {
    await log.takeIn();
    // Lets the children's end be noticed.
    await new Promise((next) => setImmediate(next));
  }
  expect(await over).toEqual([0, 0]);
  await log.takeIn();
  const found = await subjects(store);
  for (const name of ["x", "y"])
    expect(found.filter((subject) => subject?.startsWith(name))).toEqual(
      Array.from({ length: 100 }, (_, n) => `${name} ${n}`),
    );
});
