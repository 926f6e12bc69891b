import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CdktrError } from "../../src/errors.ts";
import { DataDirectoryInUseError, type OperationalTx } from "../../src/storage/operational.ts";
import { pendingRun, runRow, TestStores } from "./operational-support.ts";

const CHILD = join(import.meta.dir, "operational-child.ts");

/** The lines that a child prints, one at a time. */
async function* linesOf(child: Bun.Subprocess<"ignore", "pipe", "inherit">): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}

function child(directory: string, mode: "hold" | "write") {
  return Bun.spawn([process.execPath, CHILD, directory, mode], {
    stdout: "pipe",
    stderr: "inherit",
    stdin: "ignore",
  });
}

const insert = (id: string) => (tx: OperationalTx) => tx.insertRun(pendingRun(id));

describe("units of work", () => {
  test("one that fails takes nothing else with it", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    const effects: string[] = [];
    const results = await Promise.allSettled([
      store.transact(async (tx) => {
        tx.afterCommit(() => effects.push("a"));
        await insert("a")(tx);
      }),
      store.transact(async (tx) => {
        tx.afterCommit(() => effects.push("b"));
        await insert("b")(tx);
        throw new CdktrError("no");
      }),
      store.transact(insert("c")),
      // A bug, such as the same run twice, is the unit's own as well.
      store.transact(insert("c")),
    ]);
    expect(results.map((result) => result.status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "rejected",
    ]);
    expect(effects).toEqual(["a"]);
    const ids = (await store.read((tx) => tx.queuedRuns(10))).map((run) => run.workflow_instance_id);
    expect(ids).toEqual(["a", "c"]);
  });

  test("of one turn share one commit", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    const wal = `${store.path}-wal`;
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.transact(insert(`together-${i}`))));
    const together = statSync(wal).size;
    for (let i = 0; i < 100; i++) await store.transact(insert(`alone-${i}`));
    const alone = statSync(wal).size - together;
    expect(alone).toBeGreaterThan(together * 5);
  });

  test("the last ones see all others, those asked for meanwhile included", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    const seen: number[] = [];
    const count = async (tx: OperationalTx) => {
      seen.push((await tx.queuedRuns(10)).length);
    };
    let late: Promise<void> | undefined;
    await Promise.all([
      store.transactLast(count),
      store.transact(insert("a")),
      store.transact(async (tx) => {
        late = store.transactLast(count);
        await insert("b")(tx);
      }),
    ]);
    await late;
    expect(seen).toEqual([2, 2]);
  });

  test("readers see what is committed, and only that", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    let during: Promise<number> | undefined;
    await store.transact(async (tx) => {
      await insert("a")(tx);
      during = store.read(async (reader) => (await reader.queuedRuns(10)).length);
      await insert("b")(tx);
    });
    expect(await during).toBe(2);
    const failed = store.transact(async (tx) => {
      await insert("c")(tx);
      during = store.read(async (reader) => (await reader.queuedRuns(10)).length);
      throw new CdktrError("no");
    });
    await expect(failed).rejects.toThrow("no");
    expect(await during).toBe(2);
  });
});

describe("the file", () => {
  test("keeps everything over a restart and is nobody else's to read", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.transact(async (tx) => {
      await tx.insertRun(pendingRun("a"));
      await tx.saveScheduleCursor({ workflow_id: "flow", schedule: "s", cursor_ms: 7 });
      await tx.setReportSeq("stream", "agent", 12, 1);
      await tx.putDedupeKey("key", "a", 1);
    });
    expect(statSync(join(stores.directory, "data")).mode & 0o777).toBe(0o700);
    for (const name of ["state.db", "state.db-wal"]) {
      expect(statSync(join(stores.directory, "data", name)).mode & 0o777).toBe(0o600);
    }
    await store.stop();
    const again = await stores.open();
    const found = await again.read(async (tx) => ({
      run: await tx.getRun("a"),
      cursor: await tx.getScheduleCursor("flow"),
      stream: await tx.getReportSeq("stream"),
      key: await tx.findByDedupeKey("key"),
    }));
    expect(found).toMatchObject({
      run: pendingRun("a"),
      cursor: { cursor_ms: 7 },
      stream: { agent_id: "agent", seq: 12 },
      key: "a",
    });
  });

  test("is refused to a second principal, which is told what to do; a killed one leaves it free", async () => {
    await using stores = new TestStores();
    const directory = join(stores.directory, "data");
    await using holder = child(directory, "hold");
    expect((await linesOf(holder).next()).value).toBe("open");
    const refused = await stores.open().catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(DataDirectoryInUseError);
    expect(String(refused)).toContain(`process ${holder.pid}`);
    expect((refused as CdktrError).hint).toContain("CDKTR_APP_DATA_DIRECTORY");
    holder.kill("SIGKILL");
    await holder.exited;
    await stores.open();
  });

  test("written by a newer cdktr, or damaged, is refused in words", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.stop();
    const database = new Database(store.path);
    database.run("PRAGMA user_version = 999");
    database.close();
    await expect(stores.open()).rejects.toThrow(/newer cdktr/);
    mkdirSync(join(stores.directory, "broken"), { mode: 0o700 });
    writeFileSync(
      join(stores.directory, "broken", "state.db"),
      "this is no database, and long enough to tell".repeat(50),
    );
    await expect(stores.open("broken")).rejects.toThrow(/is damaged/);
    writeFileSync(join(stores.directory, "file"), "");
    await expect(stores.open("file/data")).rejects.toThrow(/cannot be made/);
  });

  test("that cannot grow refuses units and heals by itself", async () => {
    await using stores = new TestStores();
    const directory = join(stores.directory, "data");
    await using writer = child(directory, "write");
    const limit = (bytes: string) =>
      Bun.spawnSync(["prlimit", `--fsize=${bytes}:`, "--pid", String(writer.pid)]);
    const lines = linesOf(writer);
    expect((await lines.next()).value).toBe("open");
    expect(limit("4096").exitCode).toBe(0);
    expect((await lines.next()).value).toMatch(/^refused The principal's state cannot be written: /);
    expect(limit("unlimited").exitCode).toBe(0);
    const healed = (await lines.next()).value ?? "";
    expect(healed).toMatch(/^healed \d+$/);
    expect(await writer.exited).toBe(0);
    const store = await stores.open();
    await store.stop();
    const database = new Database(store.path, { readonly: true });
    const count = database.query<{ n: number }, []>("SELECT count(*) AS n FROM definitions").get()?.n;
    database.close();
    expect(`healed ${count}`).toBe(healed);
  });
});

describe("the outbox", () => {
  test("shows rows once they are committed, in order, until they are deleted", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    let during = -1;
    await store.transact(async (tx) => {
      await tx.insertRun(pendingRun("a"));
      await tx.appendRunStatus(runRow(pendingRun("a")));
      during = store.outbox.pending(10).length;
    });
    expect(during).toBe(0);
    await store
      .transact(async (tx) => {
        await tx.appendRunStatus(runRow(pendingRun("never")));
        throw new CdktrError("no");
      })
      .catch(() => {});
    await store.transact((tx) => tx.appendRunStatus(runRow(pendingRun("a", { status: "RUNNING" }))));
    const pending = store.outbox.pending(10);
    expect(pending.map(({ row }) => row.status)).toEqual(["PENDING", "RUNNING"]);
    store.outbox.deleteUpTo(pending[0]?.id ?? 0);
    expect(store.outbox.pending(10).map(({ row }) => row.status)).toEqual(["RUNNING"]);
    await store.stop();
    const again = await stores.open();
    expect(again.outbox.pending(10).map(({ row }) => row.status)).toEqual(["RUNNING"]);
  });

  test("never uses an id twice, not even in a directory made anew", async () => {
    await using stores = new TestStores();
    const append = async (name: string) => {
      const store = await stores.open(name);
      await store.transact((tx) => tx.appendRunStatus(runRow(pendingRun("a"))));
      const id = store.outbox.pending(1)[0]?.id ?? 0;
      store.outbox.deleteUpTo(id);
      await store.stop();
      return id;
    };
    const first = await append("data");
    const second = await append("data");
    const other = await append("another");
    expect(second).toBeGreaterThan(first);
    expect(other).toBeGreaterThan(second);
  });

  test("tells the latest status of each workflow, newest first", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.transact(async (tx) => {
      for (const [workflow_id, status] of [
        ["a", "PENDING"],
        ["b", "PENDING"],
        ["c", "PENDING"],
        ["a", "RUNNING"],
      ] as const) {
        await tx.appendRunStatus(runRow(pendingRun("x", { workflow_id, status })));
      }
    });
    const recent = await store.read((tx) => tx.recentStatuses(2));
    expect(recent.map(({ workflow_id, status }) => [workflow_id, status])).toEqual([
      ["a", "RUNNING"],
      ["c", "PENDING"],
    ]);
  });
});

describe("forgetting", () => {
  test("takes the oldest runs that are over, once the history has their rows", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.transact(async (tx) => {
      for (let i = 1; i <= 6; i++) {
        const over = i === 2 ? {} : { status: "COMPLETED" as const, queued: false, finished_at_ms: 2000 };
        const run = pendingRun(`run-${i}`, { definition_hash: `hash-${i}`, ...over });
        await tx.putDefinition(run.definition_hash, "{}");
        await tx.insertRun(run);
        await tx.appendRunStatus(runRow(run));
      }
      await tx.putDedupeKey("old", "run-1", 10);
      await tx.putDedupeKey("young", "run-6", 1000);
    });
    const forget = () =>
      store.transact((tx) => tx.forget({ keepRuns: 3, olderThanMs: 500, followUpsOlderThanMs: 0 }));
    const left = () =>
      store.read(async (tx) => (await tx.listRuns({ limit: 10 })).map((run) => run.workflow_instance_id));
    expect(await forget()).toEqual({ runs: 0, more: false });
    expect(await left()).toHaveLength(6);
    store.outbox.deleteUpTo(store.outbox.pending(10).at(-1)?.id ?? 0);
    expect(await forget()).toEqual({ runs: 2, more: false });
    expect(await left()).toEqual(["run-6", "run-5", "run-4", "run-2"]);
    const kept = await store.read(async (tx) => ({
      old: await tx.findByDedupeKey("old"),
      young: await tx.findByDedupeKey("young"),
      gone: await tx.getDefinition("hash-1"),
      used: await tx.getDefinition("hash-2"),
    }));
    expect(kept).toEqual({ old: null, young: "run-6", gone: null, used: "{}" });
  });
});

describe("queries of the queue", () => {
  test("use an index, however many runs there are", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.stop();
    const database = new Database(store.path, { readonly: true });
    const plan = (sql: string) =>
      database
        .query<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`)
        .all()
        .map((row) => row.detail);
    expect(plan("SELECT * FROM runs WHERE queued = 1 ORDER BY seq LIMIT 1")).toEqual([
      expect.stringContaining("runs_queue"),
    ]);
    expect(
      plan(
        "SELECT * FROM attempts WHERE lease IN ('OFFERED', 'HELD') AND agent_id = 'a' ORDER BY assigned_at_ms",
      )[0],
    ).toContain("attempts_open");
    expect(
      plan("SELECT status, count(*) AS n FROM runs WHERE finished_at_ms IS NULL GROUP BY status"),
    ).toEqual([expect.stringContaining("runs_open")]);
    database.close();
  });
});
