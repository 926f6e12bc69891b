import { describe, expect, test } from "bun:test";
import { GroupCommit } from "../../src/storage/operational/group-commit.ts";
import { NestedUnitError } from "../../src/storage/operational/store.ts";
import { turn } from "../../src/timer.ts";

class DatabaseError extends Error {}
class Lost extends Error {}

/** Group commit on a fake database that records its calls and fails on demand. */
class Desk {
  readonly told: string[] = [];
  readonly effectFailures: unknown[] = [];
  /** Statements that fail, by name. */
  readonly failing = new Set<string>();
  /** What a commit waits for, if it waits. */
  agreement: (() => Promise<void>) | undefined;
  #open = false;
  readonly commits: GroupCommit<(what: string) => Promise<void>>;

  constructor() {
    const tell = (what: string) => {
      this.told.push(what);
      if (this.failing.has(what)) throw new DatabaseError(what);
    };
    const desk = this;
    this.commits = new GroupCommit(
      {
        begin: () => {
          tell("begin");
          this.#open = true;
        },
        commit: () => {
          tell("commit");
          const committed = () => {
            this.#open = false;
          };
          return this.agreement === undefined ? committed() : this.agreement().then(committed);
        },
        rollback: () => {
          tell("rollback");
          this.#open = false;
        },
        savepoint: () => tell("savepoint"),
        release: () => tell("release"),
        rollbackTo: () => tell("rollback to"),
        get open() {
          return desk.#open;
        },
      },
      async (what) => tell(what),
      {
        committed: () => this.told.push("committed"),
        failed: (error) => new Lost(String(error)),
        isDatabaseError: (error) => error instanceof DatabaseError,
        effectFailed: (error) => this.effectFailures.push(error),
      },
    );
  }

  /** A unit that writes `what`. */
  unit(what: string, patienceMs?: number): Promise<string> {
    return this.commits.transact(async (write) => {
      this.commits.afterCommit(() => this.told.push(`effect of ${what}`));
      await write(what);
      return what;
    }, patienceMs);
  }
}

describe("group commit", () => {
  test("puts the units of a turn into one transaction, in order, each with a savepoint", async () => {
    const desk = new Desk();
    expect(await Promise.all([desk.unit("a"), desk.unit("b")])).toEqual(["a", "b"]);
    expect(desk.told).toEqual([
      "begin",
      "savepoint",
      "a",
      "release",
      "savepoint",
      "b",
      "release",
      "commit",
      "committed",
      "effect of a",
      "effect of b",
    ]);
  });

  test("lets a unit with patience wait for others, whose transaction it shares, or until its patience ends", async () => {
    const desk = new Desk();
    const patient = desk.unit("a", 60_000);
    // A turn in which nothing comes, and a read, which does not wait for it.
    await turn();
    expect(await desk.commits.read(async () => desk.told.length)).toBe(0);
    await Promise.all([desk.unit("b"), patient]);
    expect(desk.told.filter((what) => ["begin", "a", "b", "commit"].includes(what))).toEqual([
      "begin",
      "a",
      "b",
      "commit",
    ]);
    await desk.unit("c", 1);
    const last = desk.unit("d", 60_000);
    await desk.commits.drain();
    expect(await last).toBe("d");
  });

  test("takes no more into one transaction than others may wait for", async () => {
    const desk = new Desk();
    await Promise.all(Array.from({ length: 2500 }, (_, i) => desk.unit(String(i))));
    expect(desk.told.filter((what) => what === "commit")).toHaveLength(3);
  });

  test("undoes a unit that throws alone, with its own error; that of the database is translated", async () => {
    const desk = new Desk();
    desk.failing.add("b");
    const own = new Error("mine");
    const outcomes = await Promise.allSettled([
      desk.unit("a"),
      desk.unit("b"),
      desk.commits.transact(async () => {
        throw own;
      }),
      desk.unit("c"),
    ]);
    expect(outcomes[1]).toMatchObject({ status: "rejected", reason: expect.any(Lost) });
    expect(outcomes[2]).toMatchObject({ status: "rejected", reason: own });
    expect(desk.told.filter((what) => what === "rollback to")).toHaveLength(2);
    expect(desk.told.slice(-3)).toEqual(["committed", "effect of a", "effect of c"]);
  });

  for (const statement of ["begin", "savepoint", "commit"]) {
    test(`tells every unit when the ${statement} fails, and goes on with the next ones`, async () => {
      const desk = new Desk();
      desk.failing.add(statement);
      const outcomes = await Promise.allSettled([desk.unit("a"), desk.unit("b")]);
      for (const outcome of outcomes)
        expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(Lost) });
      expect(desk.told).not.toContain("effect of a");
      desk.failing.clear();
      expect(await desk.unit("c")).toBe("c");
      expect(desk.told.at(-1)).toBe("effect of c");
    });
  }

  test("a commit that others must agree to is waited for by its units, by readers, and by the next ones", async () => {
    const desk = new Desk();
    const agreement = Promise.withResolvers<void>();
    desk.agreement = () => agreement.promise;
    const first = desk.unit("a");
    while (!desk.told.includes("commit")) await turn();
    const others = [desk.commits.read(async (write) => write("read")), desk.unit("b")];
    await turn();
    expect(desk.told.at(-1)).toBe("commit");
    agreement.resolve();
    expect(await first).toBe("a");
    await Promise.all(others);
    expect(desk.told.slice(5)).toEqual([
      ...["committed", "effect of a", "read"],
      ...["begin", "savepoint", "b", "release", "commit", "committed", "effect of b"],
    ]);
  });

  test("a commit that others refuse is undone, and told to each unit; the next ones go on", async () => {
    const desk = new Desk();
    desk.agreement = () => Promise.reject(new DatabaseError("refused"));
    const outcomes = await Promise.allSettled([desk.unit("a"), desk.unit("b")]);
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(Lost) });
    expect(desk.told.slice(-2)).toEqual(["commit", "rollback"]);
    desk.agreement = () => Promise.resolve();
    expect(await desk.unit("c")).toBe("c");
  });

  test("an effect that throws is reported, and delays nothing", async () => {
    const desk = new Desk();
    const failing = desk.commits.transact(async () => {
      desk.commits.afterCommit(() => {
        throw new Error("effect");
      });
    });
    await Promise.all([failing, desk.unit("b")]);
    expect(desk.effectFailures.map(String)).toEqual(["Error: effect"]);
    expect(desk.told.at(-1)).toBe("effect of b");
  });

  test("does a step that units ask for once, behind them and those that it asks for itself", async () => {
    const desk = new Desk();
    const failures: unknown[] = [];
    const failed = (error: unknown) => failures.push(error);
    const later = { work: async () => void desk.told.push("later step"), failed };
    const step = {
      work: async () => {
        desk.told.push("step");
        desk.commits.beforeCommit(later);
      },
      failed,
    };
    const asking = (what: string) =>
      desk.commits.transact(async (write) => {
        desk.commits.beforeCommit(step);
        await write(what);
      });
    await Promise.all([asking("a"), desk.unit("b"), asking("c")]);
    const order = ["a", "b", "c", "step", "later step", "commit"];
    expect(desk.told.filter((what) => order.includes(what))).toEqual(order);
    desk.failing.add("commit");
    await asking("d").catch(() => {});
    expect(failures).toEqual([expect.any(Lost), expect.any(Lost)]);
  });

  test("reads between transactions, and refuses a unit or a reader inside of another", async () => {
    const desk = new Desk();
    const inside = Promise.withResolvers<void>();
    const outside = inside.promise.then(() => desk.commits.read(async (write) => write("read")));
    const refused = await desk.commits.transact(async (write) => {
      inside.resolve();
      await write("a");
      const nested = [desk.unit("nested"), desk.commits.read(async () => {})];
      await write("b");
      return Promise.allSettled(nested);
    });
    await outside;
    for (const outcome of refused)
      expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(NestedUnitError) });
    expect(desk.told).toEqual(["begin", "savepoint", "a", "b", "release", "commit", "committed", "read"]);
  });

  test("work that a unit started without awaiting it may continue after its end, but belongs to no unit", async () => {
    const desk = new Desk();
    let late: Promise<unknown> | undefined;
    await desk.commits.transact(async () => {
      late = new Promise((resolve) => setTimeout(resolve)).then(() => desk.unit("late"));
    });
    expect(await late).toBe("late");
    expect(() => desk.commits.afterCommit(() => {})).toThrow("belongs into a unit of work");
  });

  test("is drained when nothing waits any more", async () => {
    const desk = new Desk();
    const units = [desk.unit("a"), desk.unit("b").then(() => desk.unit("c"))];
    await Promise.resolve();
    await desk.commits.drain();
    expect(desk.told).toContain("effect of b");
    await Promise.all(units);
    expect(desk.told).toContain("effect of c");
  });
});
