/** Pools and priorities: who gets slots, and when. */
import { describe, expect, test } from "bun:test";
import { withPriority } from "../../src/principal/limits/needs.ts";
import { PoolWorld } from "./pool-world.ts";

const one = (pool: string, more = "") => `${more}tasks: {t: {run: ls, pool: ${pool}}}\n`;

describe("a pool", () => {
  test("gives no more slots than it has, and what waits for some holds no room of an agent", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 2);
    for (const id of ["a", "b", "c"]) await world.create(id, one("db"));
    await world.create("plain", "tasks: {t: {run: ls}}\n");
    await world.agent("agent", 3);
    expect(world.begun).toEqual(["a t", "b t", "plain t"]);
    expect(await world.used("db")).toBe(2);
    await world.end(world.at("a"));
    expect(world.begun.at(-1)).toBe("c t");
    expect(await world.used("db")).toBe(2);
    for (const work of [...world.working]) await world.end(work);
    expect(await world.used("db")).toBe(0);
    for (const id of ["a", "b", "c", "plain"]) expect(await world.status(id)).toBe("COMPLETED");
  });

  test("is not overtaken: a heavy task gets the next slots, however many light ones come", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 4);
    await world.agent("agent", 10);
    for (const id of ["a", "b", "c", "d"]) await world.create(id, one("db"));
    await world.create("heavy", one("{db: 4}"));
    for (let n = 0; n < 4; n++) {
      await world.create(`light-${n}`, one("db"));
      await world.end(world.working[0] ?? world.at("a"));
    }
    expect(world.begun.slice(4)).toEqual(["heavy t"]);
    await world.end(world.at("heavy"));
    expect(world.begun.slice(5)).toEqual(["light-0 t", "light-1 t", "light-2 t", "light-3 t"]);
  });

  test("does not hold up other pools, nor what takes none", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 1);
    await world.pool("api", 1);
    await world.agent("agent", 5);
    for (const [id, pool] of Object.entries({ a: "db", b: "db", c: "api", d: "{}" })) {
      await world.create(id, one(pool));
    }
    expect(world.begun).toEqual(["a t", "c t", "d t"]);
  });

  test("that nobody made, or that is too small, holds up nothing, until it is made", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 2);
    await world.agent("agent", 5);
    await world.create("unknown", one("{nowhere: 1, db: 1}"));
    await world.create("large", one("{db: 3}"));
    await world.create("a", one("{db: 2}"));
    expect(world.begun).toEqual(["a t"]);
    await world.pool("nowhere", 1);
    await world.pool("db", 3);
    expect(world.begun).toEqual(["a t", "unknown t"]);
    await world.end(world.at("a"));
    await world.end(world.at("unknown"));
    expect(world.begun.at(-1)).toBe("large t");
  });

  test("that shrinks below what is in use drains", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 4);
    await world.agent("agent", 10);
    for (let n = 0; n < 6; n++) await world.create(`r${n}`, one("db"));
    expect(world.begun).toHaveLength(4);
    await world.pool("db", 2);
    for (const used of [3, 2]) {
      await world.end(world.working[0] ?? world.at("r0"));
      expect(await world.used("db")).toBe(used);
      expect(world.begun).toHaveLength(4);
    }
    await world.end(world.working[0] ?? world.at("r0"));
    expect(world.begun.slice(4)).toEqual(["r4 t"]);
    await world.pool("db", 0);
    for (const work of [...world.working]) await world.end(work);
    expect(world.begun).toHaveLength(5);
    await world.pool("db", 1);
    expect(world.begun.slice(5)).toEqual(["r5 t"]);
  });

  test("gets the slots of a lost agent back, and of a cancelled task, and of a hook", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 1);
    await world.agent("agent", 5);
    await world.create("a", `tasks: {t: {run: ls, pool: db}}\nhooks: {on_exit: {run: ls, pool: db}}\n`);
    await world.create("b", one("db"));
    await world.lose(world.at("a"));
    // Its next attempt keeps its place.
    expect(world.begun).toEqual(["a t", "a t"]);
    await world.end(world.at("a"));
    expect(world.begun.slice(2)).toEqual(["b t"]);
    await world.end(world.at("b"));
    expect(world.begun.slice(3)).toEqual(["a on_exit"]);
    await world.create("c", one("db"));
    await world.create("d", one("db"));
    await world.end(world.at("a"));
    expect(world.begun.slice(4)).toEqual(["c t"]);
    await world.change(async (tx, changes) => {
      const run = await tx.getRun("c");
      if (run !== null) await changes.cancel(tx, run);
    });
    // Its agent is still to stop it: until then it has its slot.
    expect(await world.used("db")).toBe(1);
    await world.end(world.at("c"), "FAILED");
    expect(world.begun.slice(5)).toEqual(["d t"]);
  });

  test("is not held between two tries of a poll", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 1);
    await world.agent("agent", 5);
    const poll = 'tasks: {t: {run: ls, pool: db, repeat: {every: 1h, until: "${{ exit_code == 9 }}"}}}\n';
    await world.create("poll", poll);
    await world.create("b", one("db"));
    expect(world.begun).toEqual(["poll t"]);
    await world.end(world.at("poll"), "WAITING");
    expect(world.begun).toEqual(["poll t", "b t"]);
  });

  test("is for each item of a fan-out: never more of them at once", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 3);
    await world.agent("x", 4);
    await world.agent("y", 4);
    const items = Array.from({ length: 60 }, (_, n) => n);
    await world.create("fan", `tasks: {t: {run: ls, pool: db, foreach: ${JSON.stringify(items)}}}\n`);
    for (let n = 0; n < 60; n++) {
      expect(world.working.length).toBe(Math.min(3, 60 - n));
      expect(await world.used("db")).toBe(world.working.length);
      const work = world.working[n % world.working.length];
      if (work !== undefined) await world.end(work);
    }
    expect(await world.status("fan")).toBe("COMPLETED");
  });

  test("keeps slots for a task whose agents are full", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 4);
    const gpu = (id: string, pool: string) =>
      world.create(id, `runs_on: {gpu: "1"}\ntasks: {t: {run: ls, pool: ${pool}}}\n`);
    await world.agent("gpu", 1, { labels: { gpu: "1" } });
    await gpu("busy", "{}");
    await world.agent("any", 5);
    await gpu("heavy", "{db: 3}");
    for (const id of ["a", "b"]) await world.create(id, one("db"));
    // One of four is left beside those of the heavy one.
    expect(world.begun).toEqual(["busy t", "a t"]);
    await world.end(world.at("busy"));
    expect(world.begun.slice(2)).toEqual(["heavy t"]);
  });

  test("keeps none for a task that no agent can take", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 1);
    await world.agent("any", 5);
    await world.create("nowhere", `runs_on: {gpu: "1"}\n${one("db")}`);
    await world.create("a", one("db"));
    expect(world.begun).toEqual(["a t"]);
  });
});

describe("a priority", () => {
  test("decides who goes first, and waiting raises it", async () => {
    await using world = await PoolWorld.open();
    await world.create("low", "priority: 4\ntasks: {t: {run: ls}}\n");
    world.clock.advance(9 * 60_000);
    await world.create("normal", "tasks: {t: {run: ls}}\n");
    await world.create("high", "priority: 9\ntasks: {t: {run: ls}}\n");
    world.clock.advance(2 * 60_000);
    await world.create("late", "tasks: {t: {run: ls}}\n");
    await world.agent("agent", 1);
    for (let n = 0; n < 3; n++) await world.end(world.working[0] ?? world.at("low"));
    expect(world.begun).toEqual(["high t", "normal t", "low t", "late t"]);
  });

  test("of a run counts for all of its tasks, and may be changed while it waits or runs", async () => {
    await using world = await PoolWorld.open();
    const split = 'tasks: {a: {run: ls, runs_on: {z: "1"}}, b: {run: ls, depends: [a]}}\n';
    await world.create("first", split);
    await world.create("second", split, 2);
    await world.create("whole", "tasks: {t: {run: ls}}\n", 2);
    await world.agent("agent", 1, { labels: { z: "1" } });
    const change = (id: string, priority: number) =>
      world.change(async (tx) => {
        const run = await tx.getRun(id);
        if (run !== null) await tx.setPriority(run, priority, (needs) => withPriority(needs, priority));
      });
    await change("second", 7);
    await world.end(world.at("first"));
    expect(world.begun).toEqual(["first a", "second a"]);
    await change("whole", 9);
    await change("second", 0);
    await world.end(world.at("second"));
    await world.end(world.at("whole"));
    await world.end(world.at("first"));
    expect(world.begun.slice(2)).toEqual(["whole t", "first b", "second b"]);
  });

  test("of a workflow that waits for slots decides who gets them", async () => {
    await using world = await PoolWorld.open();
    await world.pool("db", 1);
    await world.agent("agent", 5);
    for (const [id, priority] of Object.entries({ a: 5, b: 5, c: 9 }))
      await world.create(id, one("db"), priority);
    await world.end(world.at("a"));
    await world.end(world.at("c"));
    expect(world.begun).toEqual(["a t", "c t", "b t"]);
  });
});
