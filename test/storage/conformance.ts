/** Tests that every implementation of the operational store must pass. */
import { describe, expect, test } from "bun:test";
import type { AlertRow, AuditRow } from "../../src/contract/history-rows.ts";
import { CdktrError } from "../../src/errors.ts";
import { IllegalTransitionError } from "../../src/storage/operational/legal.ts";
import {
  type AgentRecord,
  type AttemptRecord,
  type CommitStep,
  NestedUnitError,
  type OperationalStore,
  type OperationalTx,
  type RunRecord,
  StateConflictError,
  StoreUnavailableError,
  type TaskRunRecord,
  type UnitOfWork,
} from "../../src/storage/operational/store.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { describeGroups, groupChanges } from "./conformance-groups.ts";
import { describePools, poolChanges } from "./conformance-pools.ts";
import { agentRecord, pendingRun } from "./operational-support.ts";
import { RepeatingStore } from "./repeating-store.ts";

/** A state, empty at first, and the store on it. */
export interface StoreUnderTest extends AsyncDisposable {
  readonly store: OperationalStore;
  /** Stops the store and starts another on the same state. */
  reopen(): Promise<OperationalStore>;
  /** The n-th statement from now on, from 1, fails as it does when the disk is full; none with null. */
  failStatement(n: number | null): void;
}

const create = (id: string, over: Partial<RunRecord> = {}): UnitOfWork<void> => {
  return (tx) => tx.createRun(pendingRun(id, over), "{}", []);
};

const register = (id: string): UnitOfWork<void> => {
  return (tx) => tx.registerAgent(agentRecord(id), null, 60_000);
};

const claimant = (agent_id: string, fetch_id: string | null = null) => ({
  agent_id,
  session_id: "s",
  fetch_id,
  assigned_at_ms: 2000,
  offer_ms: 60_000,
});

async function claimed(tx: OperationalTx, agentId: string, fetchId: string | null = null) {
  const claim = await tx.claim(claimant(agentId, fetchId));
  if (typeof claim === "string") throw new Error(`the claim is ${claim}`);
  return claim;
}

async function runOf(tx: OperationalTx, id: string): Promise<RunRecord> {
  const run = await tx.getRun(id);
  if (run === null) throw new Error(`${id} is not there`);
  return run;
}

async function agentOf(tx: OperationalTx, id: string): Promise<AgentRecord> {
  const agent = await tx.getAgent(id);
  if (agent === null) throw new Error(`agent ${id} is not there`);
  return agent;
}

function taskRun(runId: string, over: Partial<TaskRunRecord> = {}): TaskRunRecord {
  return {
    workflow_instance_id: runId,
    task_instance_id: `${runId}-task`,
    task_id: "task",
    task_name: "Task",
    slice: 0,
    attempt: 1,
    task_attempt: 1,
    status: "PENDING",
    exit_code: null,
    signal: null,
    error: null,
    cpu_ms: null,
    max_rss_kb: null,
    started_at_ms: null,
    finished_at_ms: null,
    duration_ms: null,
    status_at_ms: 3000,
    due_ms: null,
    item_key: null,
    item_index: null,
    items_total: null,
    allowed: 0,
    outputs: null,
    ...over,
  };
}

const OF = { workflow_id: "flow", agent_id: "a" };

const note = (reason: string, waits: string | null = null) => ({ reason, waits });

const withoutParams = ({ params: _, event: __, outputs: ___, ...run }: RunRecord) => run;

/** The rows about runs that the history does not have yet. */
async function runRows(store: OperationalStore) {
  const rows = await store.takeStatuses(0, 1000);
  return rows.flatMap(({ table, row }) => (table === "workflow_run_status" ? [row] : []));
}

const auditRow: AuditRow = {
  timestamp_ms: 1000,
  actor: "ada",
  role: null,
  action: "run.trigger",
  subject: "flow",
  detail: '{"run":"one"}',
  outcome: "done",
  source: "local",
};

const alertRow: AlertRow = {
  alert_id: "a1",
  timestamp_ms: 1000,
  event: "raised",
  kind: "failed",
  workflow_id: "flow",
  workflow_instance_id: "one",
  key: "failed flow one",
  subject: "flow failed",
  channel: null,
  error: null,
};

/** Everything that is stored, but for numbers that grow with every attempt to store it. */
async function contentOf(store: OperationalStore): Promise<unknown> {
  const statuses = await store.takeStatuses(0, 1000);
  const rest = await store.read(async (tx) => {
    const runs = await tx.listRuns({ limit: 1000 });
    const of = <T>(read: (id: string) => Promise<T>) =>
      Promise.all(runs.map((run) => read(run.workflow_instance_id)));
    return {
      runs: runs.map(({ deadline_ms, ...run }) => ({ ...run, hasDeadline: deadline_ms !== null })),
      slices: await of((id) => tx.listSlices(id, "all")),
      queue: (await tx.queueHeads()).map(({ needs, workflow_instance_id, slice }) => ({
        needs,
        workflow_instance_id,
        slice,
      })),
      definitions: await of(() => tx.getDefinition("hash")),
      attempts: (await of((id) => tx.listAttempts(id)))
        .flat()
        .map(({ deadline_ms, ...attempt }) => ({ ...attempt, hasDeadline: deadline_ms !== null })),
      tasks: await of((id) => tx.listTaskRuns(id)),
      agents: (await tx.listAgents()).map(({ deadline_ms, ...agent }) => ({
        ...agent,
        hasDeadline: deadline_ms !== null,
      })),
      keys: await tx.listAgentKeys(),
      stream: await tx.getStream("stream"),
      followUps: (await tx.listFollowUps(0, 1000)).map(({ seq: _seq, ...row }) => row),
      recent: await tx.recentStatuses(100),
      reasons: await tx.notedReasons(),
      versions: await tx.listWorkflowVersions(),
      cursors: await tx.listScheduleCursors(),
      positions: await tx.listSchedulePositions(),
    };
  });
  return { ...rest, statuses: statuses.map(({ table, row }) => ({ table, row })) };
}

const VERSION = {
  workflow_id: "flow",
  path: "flow.yml",
  fingerprint: "reader\nsignature",
  facts: "{}",
  texts: Uint8Array.of(0, 1, 255),
};

const FOLLOW_UP = {
  workflow_id: "next",
  after_workflow_id: "flow",
  after_workflow_instance_id: "one",
  after_status: "COMPLETED",
  trigger_depth: 1,
  created_at_ms: 5000,
} as const;

/** A run that is split, and slices of it. */
const SPLIT = pendingRun("split", { queued: false, revision: 7, tasks_total: 3 });
const FIRST = { slice: 1, tasks: ["a"], needs: "" };
const SECOND = { slice: 2, tasks: ["b", "c"], needs: "gpu" };

/** A life of a few runs; together these units use every intention that changes something. */
export const LIFE: readonly UnitOfWork<unknown>[] = [
  async (tx) => {
    await tx.registerAgent(agentRecord("a"), null, 60_000);
    await tx.transferAgentKey("a", null, "key", 1);
    await tx.advanceStream("stream", "a", null, 0, 1);
  },
  async (tx) => {
    const id = await tx.claimKey("key", "one", 1000);
    if (id === "one")
      await tx.createRun(pendingRun(id), "{}", [taskRun("one", { attempt: 0, status: "COMPLETED" })]);
    return id;
  },
  create("two"),
  (tx) => tx.noteReason("two", note("no agent is up"), 1500),
  (tx) => tx.claim(claimant("a", "fetch")),
  (tx) =>
    tx.extendOffers(1000, {
      agentId: "a",
      attempts: [{ workflow_instance_id: "one", slice: 0, attempt: 1 }],
    }),
  async (tx) => {
    const [attempt] = await tx.openAttempts("a");
    if (attempt === undefined) throw new Error("nothing is assigned");
    await tx.transitionLease(attempt, { lease: "HELD", status: "RUNNING", started_at_ms: 3000 });
    await tx.transitionRun(await runOf(tx, "one"), {
      status: "RUNNING",
      status_at_ms: 3000,
      started_at_ms: 3000,
      error: null,
    });
    const task = taskRun("one", { task_instance_id: "other", task_id: "other" });
    await tx.transitionTask(task, null, OF);
    await tx.transitionTask({ ...task, status: "RUNNING" }, "PENDING", OF);
    await tx.transitionTask({ ...task, status: "COMPLETED" }, "RUNNING", OF);
    await tx.advanceStream("stream", "a", 0, 3, 2);
  },
  async (tx) => {
    const [attempt] = await tx.openAttempts("a");
    if (attempt === undefined) throw new Error("nothing is assigned");
    await tx.transitionLease(attempt, { lease: "REVOKED", status: "CRASHED", error: "gone" });
    const step = { status: "CRASHED", status_at_ms: 4000, error: "gone", crashed_attempts: 1 } as const;
    await tx.requeueRun(await tx.transitionRun(await runOf(tx, "one"), step));
  },
  async (tx) => {
    const run = await tx.requestCancel(await runOf(tx, "one"), 4500);
    const step = {
      status: "CANCELLED",
      status_at_ms: 5000,
      finished_at_ms: 5000,
      error: "cancelled",
    } as const;
    await tx.transitionRun(run, step);
    await tx.appendFollowUp(FOLLOW_UP);
  },
  async (tx) => {
    await tx.createRun({ ...SPLIT, definition_hash: "other", queued: true, revision: 0 }, "{}", []);
    await tx.placeRuns("other", "gpu");
    await tx.splitRun(await runOf(tx, "split"), 7);
  },
  async (tx) => {
    const run = await tx.reviseRun(await runOf(tx, "split"), 8);
    await tx.addSlices(run, [FIRST, SECOND], 1000);
  },
  (tx) => tx.claim({ ...claimant("a", "of a slice"), needs: "gpu" }),
  async (tx) => {
    const attempt = await tx.getAttempt({ workflow_instance_id: "split", slice: 2, attempt: 1 });
    if (attempt === null) throw new Error("the slice is not assigned");
    await tx.transitionLease(attempt, { lease: "HELD", status: "RUNNING", started_at_ms: 3000 });
    const step = { status: "RUNNING", status_at_ms: 3000, error: null } as const;
    await tx.limitRun(await tx.transitionRun(await runOf(tx, "split"), step), 5000);
    const task = taskRun("split", { slice: 2, task_id: "b", outputs: '{"rows":1}', status: "COMPLETED" });
    await tx.transitionTask(taskRun("split", { slice: 2, task_id: "b", status: "RUNNING" }), null, OF);
    await tx.transitionTask(task, "RUNNING", OF);
  },
  async (tx) => {
    const [attempt] = await tx.listAttempts("split", 2);
    const slice = await tx.getSlice("split", 2);
    if (attempt === undefined || slice === null) throw new Error("the slice is not assigned");
    const lease = { lease: "REVOKED", status: "CRASHED", log_stream_id: "stream", log_seq: 7 } as const;
    await tx.transitionLease(attempt, lease);
    const skipped = taskRun("split", { task_instance_id: "skipped", task_id: "c", status: "SKIPPED" });
    await tx.transitionTask(skipped, null, OF);
    await tx.withdrawTasks("split", ["skipped"]);
    await tx.requeueSlice(slice, 1, 3000);
  },
  async (tx) => {
    for (const slice of await tx.listSlices("split", "open")) await tx.endSlice(slice);
    await tx.recordTimeout(await runOf(tx, "split"), 4000);
  },
  (tx) => tx.settleSlices(),
  async (tx) => {
    await tx.putWorkflowVersion(VERSION);
    await tx.setSchedule("flow", "every day", 1000);
    await tx.moveSchedule("flow", 2000, 3000);
    await tx.setPositions("flow", new Map([["entry", 1000]]));
    await tx.moveSchedule("flow", 2000, 3000, "entry");
  },
  async (tx) => {
    await tx.setSchedule("flow", null, 1000);
    await tx.dropWorkflow("flow");
  },
  (tx) => tx.heardOfAgent({ agent_id: "a", session_id: "s" }, 60_000, 5),
  async (tx) => {
    await tx.transitionAgent(await agentOf(tx, "a"), "LOST", 10);
    await tx.transferAgentKey("a", "key", "another", 2);
  },
  async (tx) => {
    await tx.transferAgentKey("a", "another", null, 3);
    await tx.forgetLostAgents(11);
    await tx.forget({ keepRuns: 100, olderThanMs: 0, followUpsOlderThanMs: 6000 });
  },
  ...groupChanges,
  ...poolChanges,
  (tx) => tx.audit(auditRow),
  (tx) => tx.logAlert(alertRow),
];

/** Defines the tests of a store. */
export function describeStore(name: string, make: () => Promise<StoreUnderTest>): void {
  const given = (what: string, body: (state: StoreUnderTest) => Promise<void>) =>
    test(what, async () => {
      await using state = await make();
      await body(state);
    });

  describeGroups(name, given);
  describePools(name, given);

  describe(`${name}: units of work`, () => {
    given("one that fails takes nothing else with it", async ({ store }) => {
      const effects: string[] = [];
      const outcomes = await Promise.allSettled([
        store.transact(async (tx) => {
          tx.afterCommit(() => effects.push("a"));
          await create("a")(tx);
          return 1;
        }),
        store.transact(async (tx) => {
          tx.afterCommit(() => effects.push("b"));
          await create("b")(tx);
          throw new CdktrError("no");
        }),
        store.transact(create("c")),
        // A bug, such as the same run twice, is the unit's own as well.
        store.transact(create("c")),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual([
        "fulfilled",
        "rejected",
        "fulfilled",
        "rejected",
      ]);
      expect(outcomes[0]).toMatchObject({ value: 1 });
      expect(effects).toEqual(["a"]);
      const runs = await store.read((tx) => tx.listRuns({ limit: 10 }));
      expect(runs.map((run) => run.workflow_instance_id).sort()).toEqual(["a", "c"]);
    });

    given(
      "what they ask for before the commit sees them, once for many that share one",
      async ({ store }) => {
        const seen: number[] = [];
        const failures: unknown[] = [];
        const effects: string[] = [];
        const step: CommitStep = {
          work: async (tx) => {
            seen.push((await tx.countRuns()).queued);
            tx.afterCommit(() => effects.push("step"));
          },
          failed: (error) => failures.push(error),
        };
        const asking = (work: UnitOfWork<unknown>): UnitOfWork<void> => {
          return async (tx) => {
            tx.beforeCommit(step);
            await work(tx);
          };
        };
        await Promise.all([store.transact(asking(create("a"))), store.transact(asking(create("b")))]);
        expect(seen.at(-1)).toBe(2);
        expect(effects).toHaveLength(seen.length);
        const before = seen.length;
        const undone = store.transact(
          asking(async () => {
            throw new CdktrError("no");
          }),
        );
        expect(await undone.catch(String)).toContain("no");
        await store.transact(create("c"));
        expect(seen).toHaveLength(before);
        expect(failures).toEqual([]);
      },
    );

    given("a step before the commit that fails is undone alone", async ({ store }) => {
      const failures: unknown[] = [];
      await store.transact(async (tx) => {
        await create("a")(tx);
        tx.beforeCommit({
          work: async (inner) => {
            await create("b")(inner);
            throw new CdktrError("no");
          },
          failed: (error) => failures.push(error),
        });
      });
      expect(failures.map(String)).toEqual([expect.stringContaining("no")]);
      expect((await store.read((tx) => tx.countRuns())).queued).toBe(1);
    });

    given("one inside another is refused at once; others meanwhile are not", async ({ store }) => {
      const inside = Promise.withResolvers<void>();
      const outside = inside.promise.then(() => store.read(async () => "read"));
      const refused = await store.transact(async (tx) => {
        inside.resolve();
        await create("a")(tx);
        return [
          await store.transact(async () => {}).catch((error: unknown) => error),
          await store.read(async () => {}).catch((error: unknown) => error),
          await store.takeStatuses(0, 1).catch((error: unknown) => error),
        ];
      });
      for (const error of refused) expect(error).toBeInstanceOf(NestedUnitError);
      const read = await store.read(() => store.read(async () => {}).catch((error: unknown) => error));
      expect(read).toBeInstanceOf(NestedUnitError);
      expect(await outside).toBe("read");
      expect((await store.read((tx) => tx.countRuns())).queued).toBe(1);
    });

    given("readers see what is committed, and only that", async ({ store }) => {
      const begun = Promise.withResolvers<void>();
      const during = begun.promise.then(() => store.read((tx) => tx.countRuns()));
      const failed = store.transact(async (tx) => {
        await create("a")(tx);
        begun.resolve();
        await create("b")(tx);
        throw new CdktrError("no");
      });
      expect(await failed.catch(String)).toContain("no");
      expect((await during).queued).toBe(0);
      await store.transact(create("c"));
      expect((await store.read((tx) => tx.countRuns())).queued).toBe(1);
    });

    given("are kept over a restart, in whole", async (state) => {
      for (const unit of LIFE.slice(0, -3)) await state.store.transact(unit);
      const before = await contentOf(state.store);
      expect(await contentOf(await state.reopen())).toEqual(before);
    });

    given("may be repeated: what is undone leaves nothing", async (state) => {
      await using plain = await make();
      const repeating = new RepeatingStore(state.store);
      for (const unit of LIFE) {
        await plain.store.transact(unit);
        await repeating.transact(unit);
        expect(await contentOf(state.store)).toEqual(await contentOf(plain.store));
      }
    });

    given(
      "a failure at any statement undoes the unit, and nothing else; it can be repeated",
      async (state) => {
        await using plain = await make();
        let failures = 0;
        for (const unit of LIFE) {
          await plain.store.transact(unit);
          const before = await contentOf(state.store);
          for (let statement = 1; ; statement++) {
            state.failStatement(statement);
            const effects: number[] = [];
            const outcome = await state.store
              .transact(async (tx) => {
                tx.afterCommit(() => effects.push(statement));
                await unit(tx);
              })
              .catch((error: unknown) => error);
            state.failStatement(null);
            if (outcome === undefined) break;
            failures++;
            expect(outcome).toBeInstanceOf(StoreUnavailableError);
            expect(effects).toEqual([]);
            expect(await contentOf(state.store)).toEqual(before);
          }
          expect(await contentOf(state.store)).toEqual(await contentOf(plain.store));
        }
        // Of each unit at least what opens and commits it, and its own.
        expect(failures).toBeGreaterThan(4 * LIFE.length);
      },
    );

    given(
      "a failure at any statement of many at once is told to each that it undid",
      async ({ store, failStatement }) => {
        await store.transact(register("a"));
        let runs = 0;
        for (let statement = 1; ; statement++) {
          failStatement(statement);
          const ids = Array.from({ length: 5 }, () => `run-${++runs}`);
          const outcomes = await Promise.allSettled(ids.map((id) => store.transact(create(id))));
          failStatement(null);
          const rejected = outcomes.filter(({ status }) => status === "rejected");
          for (const outcome of rejected)
            expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(StoreUnavailableError);
          const there = await store.read((tx) => Promise.all(ids.map((id) => tx.getRun(id))));
          expect(there.map((run) => (run === null ? "rejected" : "fulfilled"))).toEqual(
            outcomes.map(({ status }) => status),
          );
          if (rejected.length === 0) break;
        }
      },
    );
  });

  describe(`${name}: the queue`, () => {
    given(
      "gives the oldest run to an agent that may have work, by a lease with a deadline",
      async ({ store }) => {
        await store.transact(register("a"));
        expect(await store.transact((tx) => tx.claim(claimant("a")))).toBe("empty");
        await store.transact(create("one"));
        await store.transact(create("two"));
        expect(await store.transact((tx) => tx.claim(claimant("stranger")))).toBe("unfit");
        expect(await store.transact((tx) => tx.claim({ ...claimant("a"), session_id: null }))).toBe("unfit");
        const claim = await store.transact((tx) => claimed(tx, "a", "fetch-1"));
        expect(claim).toMatchObject({
          isNew: true,
          slice: null,
          run: { workflow_instance_id: "one", queued: false, agent_id: "a", status: "PENDING" },
          attempt: { attempt: 1, lease: "OFFERED", status: "PENDING", fetch_id: "fetch-1" },
        });
        expect(claim.attempt.deadline_ms).toBeNumber();
        // The same request again, its reply was lost.
        const again = await store.transact((tx) => claimed(tx, "a", "fetch-1"));
        expect(again).toMatchObject({ isNew: false, run: { workflow_instance_id: "one" } });
        expect(await store.read((tx) => tx.claimedBy("a", "fetch-1"))).toEqual(again);
        expect(await store.read((tx) => tx.claimedBy("a", "fetch-2"))).toBeNull();
        expect(await store.read((tx) => tx.countRuns())).toEqual({ pending: 2, running: 0, queued: 1 });
        await store.transact(async (tx) => {
          const agent = await tx.getAgent("a");
          if (agent !== null) await tx.transitionAgent(agent, "DRAINING");
        });
        expect(await store.transact((tx) => tx.claim(claimant("a")))).toBe("unfit");
      },
    );

    given("gives each run away once, however many ask at once", async ({ store }) => {
      const agents = Array.from({ length: 7 }, (_, i) => `agent-${i}`);
      await Promise.all(agents.map((id) => store.transact(register(id))));
      await Promise.all(Array.from({ length: 50 }, (_, i) => store.transact(create(`run-${i}`))));
      const claims = await Promise.all(
        Array.from({ length: 70 }, (_, i) =>
          store.transact((tx) => tx.claim(claimant(`agent-${i % 7}`, `fetch-${i}`))),
        ),
      );
      const given = claims.flatMap((claim) =>
        typeof claim === "string" ? [] : [claim.run.workflow_instance_id],
      );
      expect(given).toHaveLength(50);
      expect(new Set(given).size).toBe(50);
      expect(await store.read((tx) => tx.openAttempts())).toHaveLength(50);
    });

    given(
      "gives what a look at the queue has found, held at once if it need not be confirmed",
      async ({ store }) => {
        await store.transact(register("a"));
        await store.transact(create("one", { definition_hash: "of one", status_at_ms: 2500 }));
        await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
        await store.transact((tx) => tx.addSlices(SPLIT, [SECOND], 1000));
        const claims = await store.transact(async (tx) => {
          const heads = await tx.queueHeads();
          expect(heads.map(({ definition_hash }) => definition_hash)).toEqual(["of one", "hash"]);
          const claims = [];
          for (const head of heads) claims.push(await tx.claim({ ...claimant("a"), head, isHeld: true }));
          expect(await tx.queueHeads()).toEqual([]);
          // It is not there any more.
          expect(await tx.claim({ ...claimant("a"), ...(heads[0] && { head: heads[0] }) })).toBe("empty");
          return claims;
        });
        expect(claims).toMatchObject([
          { run: { workflow_instance_id: "one", status: "PENDING" }, slice: null },
          { run: { workflow_instance_id: "split", status: "PENDING" }, slice: { slice: 2, state: "LEASED" } },
        ]);
        const attempts = await store.read((tx) => tx.openAttempts("a"));
        expect(attempts).toEqual(
          claims.flatMap((claim) => (typeof claim === "string" ? [] : [claim.attempt])),
        );
        const held = { lease: "HELD", status: "RUNNING", deadline_ms: null };
        expect(attempts).toMatchObject([
          { ...held, slice: 0, started_at_ms: 2500 },
          { ...held, slice: 2, started_at_ms: 2000 },
        ]);
      },
    );

    given("knows which attempts an agent must stop, and why", async ({ store }) => {
      for (const id of ["a", "b"]) await store.transact(register(id));
      for (const id of ["fine", "unwanted", "another's"]) await store.transact(create(id));
      for (const id of ["a", "a", "b"]) await store.transact((tx) => claimed(tx, id));
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      await store.transact((tx) => tx.addSlices(SPLIT, [SECOND], 1000));
      await store.transact((tx) => tx.claim({ ...claimant("a"), needs: "gpu" }));
      expect(await store.read((tx) => tx.attemptsToStop("a"))).toEqual([]);
      await store.transact(async (tx) => {
        for (const id of ["unwanted", "another's"]) await tx.requestCancel(await runOf(tx, id), 1);
        await tx.recordTimeout(await runOf(tx, "split"), 1);
      });
      const of = { session_id: "s", attempt: 1 };
      expect(await store.read((tx) => tx.attemptsToStop("a"))).toEqual([
        { ...of, workflow_instance_id: "unwanted", slice: 0, reason: "cancelled" },
        { ...of, workflow_instance_id: "split", slice: 2, reason: "timed out" },
      ]);
      for (const attempt of await store.read((tx) => tx.openAttempts("a")))
        await store.transact((tx) => tx.transitionLease(attempt, { lease: "REVOKED", status: "CANCELLED" }));
      expect(await store.read((tx) => tx.attemptsToStop("a"))).toEqual([]);
    });

    given("lets hooks run although their run is stopped, until they are stopped", async ({ store }) => {
      await store.transact(register("a"));
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      const hook = { slice: 2, tasks: ["on_exit"], needs: "", is_hook: true };
      await store.transact((tx) => tx.addSlices(SPLIT, [{ ...FIRST, needs: "" }, hook], 1000));
      const claims = [await store.transact((tx) => claimed(tx, "a"))];
      claims.push(await store.transact((tx) => claimed(tx, "a")));
      expect(claims.map(({ slice }) => slice?.is_hook)).toEqual([false, true]);
      const stopped = async () =>
        (await store.read((tx) => tx.attemptsToStop("a"))).map(({ slice, reason }) => [slice, reason]);
      await store.transact(async (tx) => tx.recordTimeout(await runOf(tx, "split"), 9));
      expect(await stopped()).toEqual([[1, "timed out"]]);
      await store.transact(async (tx) => tx.stopHooks(await runOf(tx, "split")));
      expect(await store.read((tx) => runOf(tx, "split"))).toMatchObject({ hooks_stopped: true });
      expect((await stopped()).sort()).toEqual([
        [1, "cancelled"],
        [2, "cancelled"],
      ]);
    });

    given(
      "keeps what a run has to do with limits, and tells the history what is not usual",
      async ({ store }) => {
        const limits = {
          hold: "group",
          group_key: "g eu",
          group_max: 2,
          on_conflict: "queue_latest",
          priority: 8,
          rank_ms: 900,
          schedule: "0011223344556677",
          backfill_id: "backfill",
          cancel_reason: "because",
          traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        } as const;
        await store.transact(create("held", { queued: false, ...limits }));
        await store.transact(create("plain"));
        const held = await store.read((tx) => runOf(tx, "held"));
        expect(held).toMatchObject({ ...limits, admitted: false });
        expect(await store.read((tx) => tx.listRuns({ limit: 1, id_prefix: "held" }))).toMatchObject([
          limits,
        ]);
        const [first, second] = (await store.takeStatuses(0, 10)).map(({ row }) => row);
        expect(first).toMatchObject({ priority: 8, concurrency_group: "eu", backfill_id: "backfill" });
        expect(first).toMatchObject({ schedule: "0011223344556677", traceparent: limits.traceparent });
        expect(Object.keys(second ?? {})).not.toContainAnyValues([
          "priority",
          "concurrency_group",
          "backfill_id",
          "schedule",
          "traceparent",
        ]);
        // What is over is not held.
        const step = { status: "SKIPPED", status_at_ms: 2000, finished_at_ms: 2000, error: "full" } as const;
        expect((await store.transact((tx) => tx.transitionRun(held, step))).hold).toBeNull();
        expect((await store.read((tx) => runOf(tx, "held"))).hold).toBeNull();
        await store.transact(create("in", { admitted: true, group_key: "w flow" }));
        expect((await store.read((tx) => runOf(tx, "in"))).admitted).toBe(true);
      },
    );

    given("keeps the settings of the file apart from what a command has set", async ({ store }) => {
      const put = (kind: "pool" | "calendar", values: Record<string, string>, nowMs: number) =>
        store.transact((tx) => tx.putFileSettings(kind, new Map(Object.entries(values)), nowMs));
      const sizes = async () =>
        (await store.read((tx) => tx.listPools())).map(({ name, size, file_size, own_size }) => [
          name,
          size,
          file_size,
          own_size,
        ]);
      await put("pool", { a: '{"size":1}', b: '{"size":2}' }, 1000);
      await put("calendar", { a: '{"include":["SAT"]}' }, 1000);
      await store.transact((tx) => tx.setPool("b", 5, "ops", 2000));
      await store.transact((tx) => tx.setPool("c", 6, "ops", 2000));
      expect(await sizes()).toEqual([
        ["a", 1, 1, null],
        ["b", 5, 2, 5],
        ["c", 6, null, 6],
      ]);
      await put("pool", { b: '{"size":3}', d: '{"size":4}' }, 3000);
      expect(await sizes()).toEqual([
        ["b", 5, 3, 5],
        ["c", 6, null, 6],
        ["d", 4, 4, null],
      ]);
      await put("pool", {}, 4000);
      expect(await sizes()).toEqual([
        ["b", 5, null, 5],
        ["c", 6, null, 6],
      ]);
      expect(await store.read((tx) => tx.listFileSettings("pool"))).toEqual(new Map());
      expect([...(await store.read((tx) => tx.listFileSettings("calendar")))]).toEqual([
        ["a", '{"include":["SAT"]}'],
      ]);
    });

    given("keeps the pools of a slice", async ({ store }) => {
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      await store.transact((tx) =>
        tx.addSlices(SPLIT, [{ ...FIRST, pools: '{"x":2}', rank_ms: 7 }, SECOND], 1000),
      );
      const slices = await store.read((tx) => tx.listSlices("split", "all"));
      expect(slices.map(({ pools, rank_ms }) => [pools, rank_ms])).toEqual([
        ['{"x":2}', 7],
        [null, null],
      ]);
    });

    given("has a run that starts later only when its time has come", async ({ store }) => {
      await store.transact(create("later", { queued: false, start_at_ms: 5000 }));
      expect(await store.read((tx) => tx.queueHeads())).toEqual([]);
      const wait = { kind: "start", task: "", task_instance_id: null, data: "{}", since_ms: 1000 } as const;
      const waits = ["later", "latest"].map((workflow_instance_id, n) => ({
        ...wait,
        workflow_instance_id,
        due_ms: 5000 + n,
      }));
      await store.transact(async (tx) => {
        for (const each of waits.toReversed()) await tx.addWait(each);
        // The first one counts.
        await tx.addWait({ ...wait, workflow_instance_id: "later", due_ms: 1 });
      });
      expect(await store.read((tx) => tx.nextDueWait())).toBe(5000);
      expect(await store.read((tx) => tx.dueWaits(4999, 10))).toEqual([]);
      expect(await store.read((tx) => tx.dueWaits(5001, 10))).toEqual(waits);
      expect(await store.read((tx) => tx.dueWaits(5001, 1))).toEqual(waits.slice(0, 1));
      expect(await store.read((tx) => tx.listWaits("latest"))).toEqual(waits.slice(1));
      await store.transact(async (tx) => {
        for (const { workflow_instance_id } of waits) await tx.endWait(workflow_instance_id, "");
        const started = await tx.startRun(
          await runOf(tx, "later"),
          { queued: true, needs: "", revision: 0 },
          6000,
        );
        // Since then it waits for its turn.
        expect(started.rank_ms).toBe(6000);
      });
      expect(await store.read((tx) => tx.getWait("later", ""))).toBeNull();
      expect(await store.read((tx) => tx.nextDueWait())).toBeNull();
      expect(await store.read((tx) => runOf(tx, "later"))).toMatchObject({
        status: "PENDING",
        status_at_ms: 6000,
        start_at_ms: null,
      });
      expect(await store.read((tx) => tx.queueHeads())).toMatchObject([{ workflow_instance_id: "later" }]);
      const rows = (await runRows(store)).map((row) => [row.status, row.timestamp_ms]);
      expect(rows).toEqual([
        ["PENDING", 1000],
        ["PENDING", 6000],
      ]);
    });

    given("finds what waits for runs that are over, also beside what is damaged", async ({ store }) => {
      for (const id of ["parent", "child"]) await store.transact(create(id));
      const wait = {
        kind: "run",
        workflow_instance_id: "parent",
        task_instance_id: null,
        due_ms: null,
      } as const;
      const data = { broken: "{", begins: "{}", open: '{"child":"child"}', over: '{"child":"gone"}' };
      await store.transact(async (tx) => {
        for (const [task, each] of Object.entries(data))
          await tx.addWait({ ...wait, task, data: each, since_ms: 1000 });
      });
      const found = await store.read((tx) => tx.waitsForEndedRuns());
      expect(found.map(({ task }) => task)).toEqual(["over"]);
    });

    given("gives a request one run, however often it is repeated at once", async ({ store }) => {
      await store.transact(register("a"));
      for (const id of ["one", "two", "three"]) await store.transact(create(id));
      const claims = await Promise.all(
        Array.from({ length: 5 }, () => store.transact((tx) => claimed(tx, "a", "fetch"))),
      );
      expect(new Set(claims.map(({ run }) => run.workflow_instance_id)).size).toBe(1);
      expect(claims.filter(({ isNew }) => isNew)).toHaveLength(1);
    });

    given("keeps what needs different things apart, and all of it in order", async ({ store }) => {
      await store.transact(register("a"));
      const heads = (needs?: string) =>
        store.read(async (tx) => (await tx.queueHeads(needs)).map((head) => [head.needs, nameIn(head)]));
      const nameIn = ({ workflow_instance_id: id, slice }: { workflow_instance_id: string; slice: number }) =>
        `${id} ${slice}`;
      const next = (needs?: string) =>
        store.transact(async (tx) => {
          const claim = await tx.claim({ ...claimant("a"), ...(needs === undefined ? {} : { needs }) });
          return typeof claim === "string" ? claim : nameIn(claim.attempt);
        });
      expect(await heads()).toEqual([]);
      await store.transact(create("old"));
      await store.transact(create("special", { needs: "gpu" }));
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      await store.transact((tx) => tx.addSlices(SPLIT, [FIRST, SECOND], 1000));
      await store.transact(create("young"));
      // It is queued after the run "young", although its run is older.
      await store.transact((tx) => tx.addSlices(SPLIT, [{ slice: 3, tasks: ["d"], needs: "" }], 1000));
      await store.transact(create("youngest", { needs: "zone" }));
      expect(await store.read((tx) => tx.countRuns())).toMatchObject({ queued: 7 });
      expect(await heads()).toEqual([
        ["", "old 0"],
        ["gpu", "special 0"],
        ["zone", "youngest 0"],
      ]);
      expect(await heads("gpu")).toEqual([["gpu", "special 0"]]);
      expect(await heads("tpu")).toEqual([]);
      expect(await next("tpu")).toBe("empty");
      expect([await next("gpu"), await next("gpu"), await next("gpu")]).toEqual([
        "special 0",
        "split 2",
        "empty",
      ]);
      expect([await next(), await next(), await next()]).toEqual(["old 0", "split 1", "young 0"]);
      expect(await heads()).toEqual([
        ["", "split 3"],
        ["zone", "youngest 0"],
      ]);
      expect([await next(), await next()]).toEqual(["split 3", "empty"]);

      // Needs of runs and of slices, in an order that bytes and letters of JavaScript do not agree on.
      const [first, last] = ["\uffee", "\u{1f600}"];
      await store.transact(create("first", { needs: first }));
      await store.transact((tx) => tx.addSlices(SPLIT, [{ slice: 4, tasks: ["e"], needs: last }], 1000));
      expect(new Set(await heads())).toEqual(
        new Set([
          ["zone", "youngest 0"],
          [first, "first 0"],
          [last, "split 4"],
        ]),
      );
    });

    given("leases slices, each for itself, to several agents", async ({ store }) => {
      for (const id of ["a", "b"]) await store.transact(register(id));
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      await store.transact((tx) => tx.addSlices(SPLIT, [FIRST, SECOND], 1000));
      expect(await store.read((tx) => tx.hasHadSlice("a", "split"))).toBe(false);
      const first = await store.transact((tx) => claimed(tx, "a", "fetch"));
      expect(first).toMatchObject({
        isNew: true,
        run: { workflow_instance_id: "split", status: "PENDING", agent_id: "a", agents: 1 },
        slice: { ...FIRST, state: "LEASED", attempt: 1 },
        attempt: { slice: 1, attempt: 1, lease: "OFFERED", status: "PENDING" },
      });
      expect(await store.transact((tx) => claimed(tx, "a", "fetch"))).toEqual({ ...first, isNew: false });
      const second = await store.transact((tx) => tx.claim({ ...claimant("b"), needs: "gpu" }));
      expect(second).toMatchObject({ run: { agent_id: "b", agents: 2 }, attempt: { slice: 2, attempt: 1 } });
      expect(await store.read((tx) => tx.hasHadSlice("a", "split"))).toBe(true);
      expect(await store.read((tx) => tx.openAttempts())).toHaveLength(2);
      expect(await store.read((tx) => tx.openAttempts("a"))).toEqual([first.attempt]);
      expect(await store.read((tx) => tx.listAttempts("split", 1))).toEqual([first.attempt]);
      expect(await store.read((tx) => tx.listAttempts("split", 0))).toEqual([]);
      const agents = await store.read((tx) => tx.agentsOfRuns(["nobody's", "split"]));
      expect([...agents]).toEqual([["split", new Set(["a", "b"])]]);

      // The first one is to be done again: it keeps what completed, and its place in the queue.
      const task = (id: string, status: RunStatus) =>
        taskRun("split", { task_instance_id: id, task_id: id, slice: 1, status });
      await store.transact(async (tx) => {
        for (const id of ["x", "y"]) await tx.transitionTask(task(id, "RUNNING"), null, OF);
        await tx.transitionTask(task("x", "COMPLETED"), "RUNNING", OF);
        await tx.transitionTask(task("y", "CRASHED"), "RUNNING", OF);
      });
      expect(await store.read((tx) => runOf(tx, "split"))).toMatchObject({ tasks_done: 2, attempt: 1 });
      await store.transact((tx) => tx.addSlices(SPLIT, [{ slice: 3, tasks: ["d"], needs: "" }], 1000));
      await store.transact(async (tx) => {
        await tx.transitionLease(first.attempt, { lease: "EXPIRED", status: "CRASHED" });
        if (first.slice !== null) await tx.requeueSlice(first.slice, 1, 5000);
      });
      expect(await store.read((tx) => runOf(tx, "split"))).toMatchObject({ tasks_done: 1, attempt: 2 });
      const again = await store.transact((tx) => claimed(tx, "b"));
      expect(again).toMatchObject({
        run: { agents: 2 },
        slice: { slice: 1, attempt: 2, crashed_attempts: 1, queued_at_ms: 5000 },
      });
      expect(await store.read((tx) => tx.listSlices("split", "open"))).toHaveLength(3);
      const { slice } = again;
      if (slice === null) throw new Error("a run was leased");
      const asleep = await store.transact((tx) => tx.sleepSlice(slice));
      expect(asleep.state).toBe("ASLEEP");
      const woken = await store.transact((tx) => tx.wakeSlice(asleep, 6000));
      expect(woken).toMatchObject({ state: "QUEUED", attempt: 3, crashed_attempts: 0, queued_at_ms: 6000 });
      expect(await store.read((tx) => tx.getSlice("split", 1))).toEqual(woken);
      expect((await store.read((tx) => runOf(tx, "split"))).attempt).toBe(2);
      await store.transact((tx) => tx.endSlice(woken));
      expect(await store.read((tx) => tx.listSlices("split", "open"))).toHaveLength(2);
      expect(await store.read((tx) => tx.listSlices("split", "all"))).toHaveLength(3);
      expect(await store.read((tx) => tx.lastSlice("split"))).toBe(3);
    });

    given(
      "repeats to the history which agent had each task, and that none had a skipped one",
      async ({ store }) => {
        for (const id of ["a", "b"]) await store.transact(register(id));
        await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
        await store.transact((tx) => tx.addSlices(SPLIT, [FIRST, SECOND], 1000));
        await store.transact((tx) => claimed(tx, "a"));
        await store.transact((tx) => tx.claim({ ...claimant("b"), needs: "gpu" }));
        const had = (task_id: string, slice: number, status: RunStatus, agent_id: string | null) =>
          store.transact(async (tx) => {
            const task = taskRun("split", { task_instance_id: task_id, task_id, slice, status });
            await tx.transitionTask(task, null, { ...OF, agent_id });
          });
        await had("x", 1, "RUNNING", "a");
        await had("y", 2, "RUNNING", "b");
        await had("z", 0, "SKIPPED", null);
        const rows = async () =>
          (await store.takeStatuses(0, 100)).flatMap(({ id, table, row }) =>
            table === "task_run_status" ? [{ id, told: [row.task_id, row.status, row.agent_id] }] : [],
          );
        const before = await rows();
        const last = before.at(-1)?.id ?? 0;
        const lost = {
          workflow_instance_id: "split",
          attempt: 0,
          status: "PENDING",
          tasks: new Map<string, { attempt: number; status: RunStatus }>(),
        } as const;
        await store.compareWithHistory([lost], last, true);
        const repeated = (await rows()).filter(({ id }) => id > last).map(({ told }) => told);
        expect(repeated).toEqual(before.map(({ told }) => told));
      },
    );

    given("has the results of tasks, in whatever slice they ended", async ({ store }) => {
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      const ends = [
        { task_instance_id: "1", task_id: "a", slice: 1, outputs: '{"n":1}' },
        { task_instance_id: "2", task_id: "b", slice: 2, outputs: null },
        { task_instance_id: "3", task_id: "c", slice: 2, outputs: '{"n":3}' },
      ];
      for (const end of ends) {
        await store.transact(async (tx) => {
          await tx.transitionTask(taskRun("split", { ...end, outputs: null, status: "RUNNING" }), null, OF);
          await tx.transitionTask(taskRun("split", { ...end, status: "COMPLETED" }), "RUNNING", OF);
        });
      }
      expect(await store.read(async (tx) => [...(await tx.outputsOf("split", ["c", "b", "x"]))])).toEqual([
        ["c", '{"n":3}'],
      ]);
      expect((await store.read((tx) => tx.listTaskStates("split", 2))).map((task) => task.task_id)).toEqual([
        "b",
        "c",
      ]);
      expect(await store.read((tx) => tx.listTaskEnds("split"))).toEqual(
        ends.map(({ task_id, slice }) => ({
          task_id,
          item_key: null,
          slice,
          attempt: 1,
          status: "COMPLETED",
          allowed: 0,
        })),
      );
      expect((await store.read((tx) => tx.listTaskRuns("split")))[0]?.outputs).toBe('{"n":1}');
      const states = (await store.read((tx) => tx.listTaskRuns("split"))).map(
        ({ outputs: _, ...state }) => state,
      );
      expect(await store.read((tx) => tx.listTaskStates("split"))).toEqual(states);
      for (const [slice, status] of (["RUNNING", "WAITING", "PENDING"] as const).entries()) {
        const task = taskRun("split", { task_instance_id: `open ${slice}`, slice, status });
        await store.transact(async (tx) => {
          if (status !== "WAITING") return tx.transitionTask(task, null, OF);
          await tx.transitionTask({ ...task, status: "RUNNING" }, null, OF);
          await tx.transitionTask(task, "RUNNING", OF);
        });
      }
      const openOf = (slice?: number) =>
        store.read(async (tx) => (await tx.listOpenTasks("split", slice)).map(({ status }) => status));
      expect([await openOf(), await openOf(1), await openOf(2)]).toEqual([
        ["RUNNING", "WAITING", "PENDING"],
        ["WAITING"],
        ["PENDING"],
      ]);
    });

    given("knows which runs take too long", async ({ store }) => {
      for (const id of ["fine", "late", "later"]) {
        await store.transact(async (tx) => {
          await tx.createRun({ ...SPLIT, workflow_instance_id: id }, "{}", []);
          await tx.limitRun(await runOf(tx, id), { fine: 60_000, late: -20, later: -10 }[id] ?? null);
        });
      }
      const overdue = () =>
        store.read(async (tx) => (await tx.overdueRuns(9)).map((run) => run.workflow_instance_id));
      expect(await overdue()).toEqual(["late", "later"]);
      expect(await store.read((tx) => tx.nextOverdueRun())).toBeLessThan(0);
      const late = await store.transact(async (tx) => tx.recordTimeout(await runOf(tx, "late"), 9));
      expect(late).toEqual(await store.read((tx) => runOf(tx, "late")));
      expect(late).toMatchObject({ timed_out_at_ms: 9, deadline_ms: null });
      // Time goes on over the attempts of a run, until it has ended.
      const step = { status_at_ms: 1, error: null } as const;
      await store.transact(async (tx) => {
        const running = await tx.transitionRun(await runOf(tx, "later"), { ...step, status: "RUNNING" });
        await tx.requeueRun(await tx.transitionRun(running, { ...step, status: "CRASHED" }));
      });
      expect(await overdue()).toEqual(["later"]);
      const over = { ...step, status: "FAILED", finished_at_ms: 9 } as const;
      await store.transact(async (tx) => tx.transitionRun(await runOf(tx, "later"), over));
      expect(await overdue()).toEqual([]);
      expect(await store.read((tx) => tx.nextOverdueRun())).toBeGreaterThan(30_000);
      const left = (id: string) => store.read(async (tx) => tx.timeLeft(await runOf(tx, id)));
      expect(await left("fine")).toBeWithin(30_000, 60_001);
      expect(await left("later")).toBeNull();
      await store.transact(async (tx) => tx.limitRun(await runOf(tx, "fine"), null));
      expect(await store.read((tx) => tx.nextOverdueRun())).toBeNull();
    });

    given("watches the time of a whole run only while it waits", async ({ store }) => {
      await store.transact(register("a"));
      await store.transact(create("one"));
      await store.transact(async (tx) => tx.limitRun(await runOf(tx, "one"), -10));
      expect(await store.read((tx) => tx.overdueRuns(9))).toHaveLength(1);
      await store.transact((tx) => claimed(tx, "a"));
      expect(await store.read((tx) => tx.overdueRuns(9))).toEqual([]);
      expect(await store.read((tx) => tx.nextOverdueRun())).toBeNull();
      expect(await store.read(async (tx) => tx.timeLeft(await runOf(tx, "one")))).toBeLessThan(0);
    });

    given("withdraws tasks that ended without an agent, and nothing else", async ({ store }) => {
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      const ends = [
        { task_instance_id: "1", task_id: "a", slice: 1, status: "SKIPPED" },
        { task_instance_id: "2", task_id: "b", status: "SKIPPED" },
        { task_instance_id: "3", task_id: "c", status: "RUNNING" },
        { task_instance_id: "4", task_id: "d", status: "SKIPPED" },
      ] as const;
      for (const end of ends)
        await store.transact((tx) => tx.transitionTask(taskRun("split", end), null, OF));
      await store.transact((tx) => tx.withdrawTasks("split", ["1", "2", "3", "5"]));
      expect(await store.read((tx) => tx.listTaskEnds("split"))).toMatchObject([
        { task_id: "a" },
        { task_id: "c" },
        { task_id: "d" },
      ]);
      expect(await store.read((tx) => runOf(tx, "split"))).toMatchObject({ tasks_done: 2 });
    });

    given(
      "items of fan-outs: listed page by page, counted, carried over, and no tasks of their run",
      async ({ store }) => {
        await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
        const item = (index: number, attempt: number, status: RunStatus, outputs: string | null = null) =>
          taskRun("split", {
            task_instance_id: `${index} in ${attempt}`,
            task_id: "load",
            item_key: `k${index}`,
            item_index: index,
            slice: 1,
            attempt,
            status,
            outputs,
          });
        await store.transact(async (tx) => {
          const parent = { task_id: "load", items_total: 4, status: "RUNNING" } as const;
          await tx.transitionTask(taskRun("split", parent), null, OF);
          for (const index of [2, 0, 1]) await tx.transitionTask(item(index, 1, "RUNNING"), null, OF);
          await tx.transitionTask(item(0, 1, "COMPLETED", '{"n":0}'), "RUNNING", OF);
          await tx.transitionTask(item(1, 1, "CRASHED"), "RUNNING", OF);
          await tx.transitionTask(item(1, 2, "RUNNING"), null, OF);
          await tx.transitionTask(item(1, 2, "COMPLETED", '{"n":1}'), "RUNNING", OF);
          await tx.transitionTask(item(2, 1, "FAILED"), "RUNNING", OF);
        });
        await store.read(async (tx) => {
          expect((await tx.listTasks("split")).map(({ task_id }) => task_id)).toEqual(["load"]);
          expect(await tx.completedTasks("split")).toEqual([]);
          expect([...(await tx.outputsOf("split", ["load"]))]).toEqual([]);
          expect(await runOf(tx, "split")).toMatchObject({ tasks_done: 0 });
          const page = async (more: object) =>
            (await tx.listItems("split", "load", { limit: 10, ...more })).map(
              ({ item_key, status, attempt }) => `${item_key} ${status} ${attempt}`,
            );
          expect(await page({})).toEqual(["k0 COMPLETED 1", "k1 COMPLETED 2", "k2 FAILED 1"]);
          expect(await page({ limit: 2 })).toEqual(["k0 COMPLETED 1", "k1 COMPLETED 2"]);
          expect(await page({ afterIndex: 1 })).toEqual(["k2 FAILED 1"]);
          expect(await page({ status: "COMPLETED", afterIndex: 0 })).toEqual(["k1 COMPLETED 2"]);
          expect(await page({ afterIndex: 0, beforeIndex: 2 })).toEqual(["k1 COMPLETED 2"]);
          expect(await page({ words: ["LOAD[k", "failed"] })).toEqual(["k2 FAILED 1"]);
          expect(await page({ words: ["k", "!fail"], afterIndex: 0 })).toEqual(["k1 COMPLETED 2"]);
          expect(await page({ words: ["'%_\"", "k"] })).toEqual([]);
          expect(await page({ words: ["!"] })).toEqual([]);
          expect(await tx.listItems("split", "other", { limit: 10 })).toEqual([]);
          const counts = (await tx.countItems("split")).map(({ status, items }) => `${status} ${items}`);
          expect(counts.sort()).toEqual(["COMPLETED 2", "FAILED 1"]);
          expect((await tx.completedItems("split")).map(({ item_key }) => item_key)).toEqual(["k0", "k1"]);
          const outputs = await tx.itemOutputs("split", ["load", "other"], 1000);
          expect(outputs.map((one) => `${one.item_index} ${one.outputs}`)).toEqual([
            '0 {"n":0}',
            '1 {"n":1}',
          ]);
          const indexes = async (...most: [mostBytes: number, afterIndex?: number]) =>
            (await tx.itemOutputs("split", ["load"], ...most)).map(({ item_index }) => item_index);
          expect(await indexes(0)).toEqual([0]);
          expect(await indexes(7)).toEqual([0, 1]);
          expect(await indexes(1000, 0)).toEqual([1]);
        });
        // A retry has those that completed.
        await store.transact(async (tx) => {
          await tx.createRun({ ...SPLIT, workflow_instance_id: "again", retry_of: "split" }, "{}", []);
          await tx.carryItems("split", "again", ["load"]);
          await tx.carryItems("split", "again", []);
          await tx.restoreOutputs("again", new Map([["0 in 1", '{"n":"not"}']]));
        });
        await store.read(async (tx) => {
          const carried = await tx.listItems("again", "load", { limit: 10 });
          expect(carried).toMatchObject([
            { item_key: "k0", slice: 0, attempt: 0, status: "COMPLETED", task_instance_id: "0 in 1" },
            { item_key: "k1", slice: 0, attempt: 0, status: "COMPLETED" },
          ]);
          expect((await tx.itemOutputs("again", ["load"], 1000)).map(({ outputs }) => outputs)).toEqual([
            '{"n":0}',
            '{"n":1}',
          ]);
          expect(await runOf(tx, "again")).toMatchObject({ tasks_done: 0 });
        });
      },
    );

    given("items that are to be stopped: those of slices that an agent has", async ({ store }) => {
      await store.transact(register("a"));
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      const slice = { slice: 1, tasks: ["load[a]", "load[c]", "other"], needs: "" };
      await store.transact(async (tx) => {
        await tx.addSlices(await runOf(tx, "split"), [slice], 1000);
        await tx.putFanOut(
          "split",
          "load",
          JSON.stringify(["a", "b", "c"].map((key) => ({ key, value: key }))),
        );
      });
      await store.transact((tx) => claimed(tx, "a"));
      expect(await store.read((tx) => tx.itemsToStop("a"))).toEqual([]);
      await store.transact((tx) => tx.cutFanOut("split", "load", true));
      const [order, more] = await store.read((tx) => tx.itemsToStop("a"));
      expect(more).toBeUndefined();
      expect(order).toMatchObject({ workflow_instance_id: "split", slice: 1, attempt: 1 });
      expect(order?.items).toEqual([
        { task_id: "load", key: "a", index: 0 },
        { task_id: "load", key: "c", index: 2 },
      ]);
      expect(await store.read((tx) => tx.itemsToStop("b"))).toEqual([]);
      await store.transact((tx) => tx.cutFanOut("split", "load", false));
      expect(await store.read((tx) => tx.itemsToStop("a"))).toEqual([]);
      expect(await store.read((tx) => tx.fanOutsOf("split"))).toMatchObject([
        { task_id: "load", is_cut: false },
      ]);
    });

    given("settles what an older cdktr left of split runs", async ({ store }) => {
      await store.transact(register("a"));
      for (const id of ["alive", "ended"]) {
        await store.transact(async (tx) => {
          await tx.createRun({ ...SPLIT, workflow_instance_id: id }, "{}", []);
          const slices = [FIRST, { ...SECOND, needs: "" }];
          await tx.addSlices(await runOf(tx, id), slices, 1000);
        });
      }
      for (let leases = 0; leases < 3; leases++) await store.transact((tx) => claimed(tx, "a"));
      // It ends the run, and knows nothing of slices.
      const over = { status: "CANCELLED", status_at_ms: 9, finished_at_ms: 9, error: null } as const;
      await store.transact(async (tx) => tx.transitionRun(await runOf(tx, "ended"), over));
      const before = await store.read((tx) => tx.listSlices("alive", "all"));
      await store.transact((tx) => tx.settleSlices());
      expect(await store.read((tx) => tx.listSlices("ended", "open"))).toEqual([]);
      expect(await store.read((tx) => tx.listSlices("alive", "all"))).toEqual(before);
      const open = await store.read((tx) => tx.openAttempts());
      expect(open.map((attempt) => attempt.workflow_instance_id)).toEqual(["alive", "alive"]);
      expect((await store.read((tx) => tx.listAttempts("ended")))[0]).toMatchObject({ lease: "REVOKED" });
    });

    given("places runs that an older cdktr queued for any agent", async ({ store }) => {
      await store.transact(register("a"));
      const of = (definition_hash: string) => ({ definition_hash });
      await store.transact(create("plain", of("1")));
      await store.transact(create("labels", { ...of("1"), needs: "gpu" }));
      await store.transact(create("taken", of("1")));
      await store.transact(create("parts", of("2")));
      await store.transact(create("begun", { ...of("2"), attempt: 2 }));
      await store.transact(create("over", { ...of("3"), queued: false }));
      expect((await store.read((tx) => tx.plainDefinitions())).sort()).toEqual(["1", "2"]);
      await store.transact((tx) => tx.placeRuns("1", "x"));
      const needs = (id: string) => store.read(async (tx) => (await runOf(tx, id)).needs);
      expect(await Promise.all(["plain", "labels", "taken", "parts"].map(needs))).toEqual([
        "x",
        "gpu",
        "x",
        "",
      ]);
      const [run, ...others] = await store.read((tx) => tx.plainRuns("2", 9));
      expect(others).toEqual([]);
      if (run === undefined) throw new Error("no run");
      const split = await store.transact((tx) => tx.splitRun(run, 5));
      expect(split).toEqual(await store.read((tx) => runOf(tx, "parts")));
      expect(split).toMatchObject({ queued: false, revision: 5 });
      const again = store.transact((tx) => tx.splitRun(run, 6));
      expect(await again.catch((error: unknown) => error)).toBeInstanceOf(StateConflictError);
      expect(await store.read((tx) => tx.plainDefinitions())).toEqual(["2"]);
    });

    given("knows which offers are overdue; they can be prolonged", async ({ store }) => {
      await store.transact(register("a"));
      for (const id of ["one", "two", "three"]) await store.transact(create(id));
      expect(await store.read((tx) => tx.nextOverdueOffer())).toBeNull();
      await store.transact(async (tx) => {
        await tx.claim({ ...claimant("a"), offer_ms: 50_000 });
        await tx.claim({ ...claimant("a"), offer_ms: -10 });
        await tx.claim({ ...claimant("a"), offer_ms: -20 });
      });
      const overdue = () =>
        store.read(async (tx) => (await tx.overdueOffers(10)).map((offer) => offer.workflow_instance_id));
      expect(await overdue()).toEqual(["three", "two"]);
      expect(await store.read((tx) => tx.nextOverdueOffer())).toBeLessThan(0);
      const named = [{ workflow_instance_id: "three", slice: 0, attempt: 1 }];
      expect(await store.transact((tx) => tx.extendOffers(1, { agentId: "b", attempts: named }))).toBe(0);
      expect(await store.transact((tx) => tx.extendOffers(40_000, { agentId: "a", attempts: named }))).toBe(
        1,
      );
      expect(await overdue()).toEqual(["two"]);
      await store.transact(async (tx) => {
        const [offer] = await tx.overdueOffers(1);
        if (offer !== undefined) await tx.transitionLease(offer, { lease: "EXPIRED", status: "CRASHED" });
      });
      expect(await overdue()).toEqual([]);
      const next = (await store.read((tx) => tx.nextOverdueOffer())) ?? 0;
      expect(next).toBeGreaterThan(30_000);
      expect(next).toBeLessThanOrEqual(40_000);
      expect(await store.transact((tx) => tx.extendOffers(60_000))).toBe(2);
      expect(await store.read((tx) => tx.nextOverdueOffer())).toBeGreaterThan(50_000);
    });

    given(
      "takes the offer of a run that its agent has begun by itself, as long as it has none",
      async ({ store }) => {
        const begun = { ...pendingRun("begun"), queued: false, agent_id: "a", agents: 1 };
        const offer: AttemptRecord = {
          ...{ workflow_instance_id: "begun", slice: 0, attempt: 1, agent_id: "a", session_id: "of then" },
          ...{ fetch_id: null, assigned_at_ms: 5, deadline_ms: null, lease: "OFFERED", status: "PENDING" },
          ...{ clock_offset_ms: 0, started_at_ms: null, finished_at_ms: null, error: null },
          ...{ log_stream_id: null, log_seq: 0 },
        };
        await store.transact(async (tx) => {
          await tx.createRun(begun, "{}", []);
          await tx.addOffer(offer);
        });
        expect(await store.read((tx) => tx.openAttempts("a"))).toEqual([offer]);
        expect(await store.read((tx) => tx.claim(claimant("b")))).toBe("empty");
        await expect(store.transact((tx) => tx.addOffer(offer))).rejects.toThrow();
        await store.transact(async (tx) => {
          await tx.transitionLease(offer, { lease: "HELD", status: "RUNNING", started_at_ms: 5 });
        });
        expect(await store.read((tx) => tx.openAttempts("a"))).toMatchObject([{ lease: "HELD" }]);
      },
    );

    given("knows when an agent is lost that is not heard of", async ({ store }) => {
      const due = (withinMs: number) =>
        store.read(async (tx) => (await tx.dueAgents(withinMs)).map((agent) => agent.agent_id));
      expect(await store.read((tx) => tx.nextDueAgent())).toBeNull();
      for (const [id, aliveMs] of [
        ["late", -10],
        ["soon", 20_000],
        ["fine", 60_000],
      ] as const)
        await store.transact((tx) => tx.registerAgent(agentRecord(id), null, aliveMs));
      expect(await due(0)).toEqual(["late"]);
      expect(await due(30_000)).toEqual(["late", "soon"]);
      expect(await store.read((tx) => tx.nextDueAgent())).toBeLessThan(0);
      const heard = (agent_id: string, session_id: string) =>
        store.transact((tx) => tx.heardOfAgent({ agent_id, session_id }, 40_000, 9));
      await heard("late", "another process");
      expect(await due(0)).toEqual(["late"]);
      await heard("late", "s");
      expect(await due(30_000)).toEqual(["soon"]);
      expect((await store.read((tx) => agentOf(tx, "late"))).last_heartbeat_ms).toBe(9);
      await store.transact(async (tx) => tx.transitionAgent(await agentOf(tx, "soon"), "LOST"));
      await heard("soon", "s");
      expect(await due(90_000)).toEqual(["late", "fine"]);
      expect(await store.read((tx) => tx.nextDueAgent())).toBeGreaterThan(30_000);
    });

    given("holds an idempotency key for one run, however many ask at once", async ({ store }) => {
      const holders = await Promise.all(
        ["a", "b", "c"].map((id) => store.transact((tx) => tx.claimKey("key", id, 1))),
      );
      expect(new Set(holders).size).toBe(1);
      expect(await store.transact((tx) => tx.claimKey("key", "d", 1))).toBe(holders[0] ?? "");
      const undone = store.transact(async (tx) => {
        await tx.claimKey("another", "e", 1);
        throw new CdktrError("no");
      });
      await undone.catch(() => {});
      expect(await store.transact((tx) => tx.claimKey("another", "f", 1))).toBe("f");
    });
  });

  describe(`${name}: a change that finds another state than it expected`, () => {
    /** Does `change`, then again what it did with what it had read; that must be refused and change nothing. */
    const refused = async (store: OperationalStore, change: UnitOfWork<unknown>) => {
      const before = await contentOf(store);
      const error = await store.transact(change).catch((thrown: unknown) => thrown);
      expect(await contentOf(store)).toEqual(before);
      return error;
    };

    given("of a run", async ({ store }) => {
      await store.transact(create("one"));
      const run = await store.read((tx) => runOf(tx, "one"));
      const running = { status: "RUNNING", status_at_ms: 1, error: null } as const;
      const cancelled = { status: "CANCELLED", status_at_ms: 1, finished_at_ms: 1, error: null } as const;
      const now = await store.transact((tx) => tx.transitionRun(run, running));
      expect(now).toEqual(await store.read((tx) => runOf(tx, "one")));
      expect(await refused(store, (tx) => tx.transitionRun(run, running))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, (tx) => tx.transitionRun(run, cancelled))).toBeInstanceOf(
        StateConflictError,
      );
      expect(await refused(store, (tx) => tx.requestCancel(run, 1))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, (tx) => tx.requeueRun(now))).toBeInstanceOf(StateConflictError);
      // Somebody wanted it cancelled meanwhile: whoever does not know that yet must look again.
      await store.transact((tx) => tx.requestCancel(now, 9));
      expect(await refused(store, (tx) => tx.transitionRun(now, cancelled))).toBeInstanceOf(
        StateConflictError,
      );
      const asked = await store.read((tx) => runOf(tx, "one"));
      expect(asked.cancel_requested_at_ms).toBe(9);
      const over = await store.transact((tx) => tx.transitionRun(asked, cancelled));
      expect(await refused(store, (tx) => tx.requestCancel(over, 1))).toBeInstanceOf(StateConflictError);
      const illegal = await refused(store, (tx) => tx.transitionRun(over, running));
      expect(illegal).toBeInstanceOf(IllegalTransitionError);
    });

    given("of a run that goes to another agent", async ({ store }) => {
      await store.transact(create("one"));
      const run = await store.read((tx) => runOf(tx, "one"));
      const crashed = { status: "CRASHED", status_at_ms: 1, error: "gone" } as const;
      const again = await store.transact(async (tx) => tx.requeueRun(await tx.transitionRun(run, crashed)));
      expect(again).toMatchObject({ status: "PENDING", attempt: 2, queued: true, agent_id: null });
      expect(again).toEqual(await store.read((tx) => runOf(tx, "one")));
      expect(await refused(store, (tx) => tx.requeueRun(run))).toBeInstanceOf(StateConflictError);
      const rows = (await runRows(store)).map((row) => [row.status, row.attempt, row.error]);
      expect(rows).toEqual([
        ["PENDING", 1, null],
        ["CRASHED", 1, "gone"],
        ["PENDING", 2, null],
      ]);
    });

    given("of a split run, and of a slice", async ({ store }) => {
      await store.transact(register("a"));
      await store.transact((tx) => tx.createRun(SPLIT, "{}", []));
      await store.transact((tx) => tx.addSlices(SPLIT, [FIRST], 1000));
      expect(await refused(store, (tx) => tx.addSlices(SPLIT, [FIRST], 1000))).toBeInstanceOf(
        StateConflictError,
      );
      const revised = await store.transact((tx) => tx.reviseRun(SPLIT, 8));
      expect(revised).toEqual(await store.read((tx) => runOf(tx, "split")));
      for (const change of [
        (tx: OperationalTx) => tx.reviseRun(SPLIT, 9),
        (tx: OperationalTx) => tx.limitRun(SPLIT, 9),
        (tx: OperationalTx) => tx.recordTimeout(SPLIT, 9),
        (tx: OperationalTx) => tx.transitionRun(SPLIT, { status: "RUNNING", status_at_ms: 1, error: null }),
      ])
        expect(await refused(store, change)).toBeInstanceOf(StateConflictError);
      const { slice } = await store.transact((tx) => claimed(tx, "a"));
      if (slice === null) throw new Error("a run was leased");
      const queued = await store.transact((tx) => tx.requeueSlice(slice, 1, 1));
      expect(queued).toEqual((await store.read((tx) => tx.getSlice("split", 1))) ?? slice);
      expect(await refused(store, (tx) => tx.requeueSlice(slice, 1, 1))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, (tx) => tx.endSlice(slice))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, (tx) => tx.sleepSlice(slice))).toBeInstanceOf(StateConflictError);
      await store.transact((tx) => tx.endSlice(queued));
      const over = await store.read((tx) => tx.getSlice("split", 1));
      if (over === null) throw new Error("the slice is gone");
      expect(await refused(store, (tx) => tx.sleepSlice(over))).toBeInstanceOf(IllegalTransitionError);
      expect(await refused(store, (tx) => tx.requeueSlice(over, 1, 1))).toBeInstanceOf(
        IllegalTransitionError,
      );
    });

    given("of a lease", async ({ store }) => {
      await store.transact(register("a"));
      await store.transact(create("one"));
      const { attempt } = await store.transact((tx) => claimed(tx, "a"));
      const held = { lease: "HELD", status: "RUNNING" } as const;
      const now = await store.transact((tx) => tx.transitionLease(attempt, held));
      expect(now).toEqual(
        (await store.read((tx) => tx.getAttempt({ workflow_instance_id: "one", slice: 0, attempt: 1 }))) ??
          attempt,
      );
      expect(await refused(store, (tx) => tx.transitionLease(attempt, held))).toBeInstanceOf(
        StateConflictError,
      );
      const expired = { lease: "EXPIRED", status: "CRASHED" } as const;
      expect(await refused(store, (tx) => tx.transitionLease(attempt, expired))).toBeInstanceOf(
        StateConflictError,
      );
      expect(await refused(store, (tx) => tx.transitionLease(now, expired))).toBeInstanceOf(
        IllegalTransitionError,
      );
    });

    given("of a task run", async ({ store }) => {
      await store.transact(create("one"));
      const task = taskRun("one");
      await store.transact((tx) => tx.transitionTask({ ...task, status: "RUNNING" }, null, OF));
      const done: TaskRunRecord = { ...task, status: "COMPLETED" };
      expect(await refused(store, (tx) => tx.transitionTask(done, "PENDING", OF))).toBeInstanceOf(
        IllegalTransitionError,
      );
      expect(
        await refused(store, (tx) => tx.transitionTask({ ...task, status: "FAILED" }, "WAITING", OF)),
      ).toBeInstanceOf(StateConflictError);
      await store.transact((tx) => tx.transitionTask(done, "RUNNING", OF));
      expect(await refused(store, (tx) => tx.transitionTask(done, "RUNNING", OF))).toBeInstanceOf(
        StateConflictError,
      );
      expect(await store.read((tx) => tx.getTaskRun("one", task.task_instance_id))).toEqual(done);
      expect(await store.read((tx) => tx.completedTasks("one"))).toEqual(["task"]);
      expect((await store.read((tx) => runOf(tx, "one"))).tasks_done).toBe(1);
    });

    given(
      "of a task run that nobody knew, and that has ended: it leaves what two changes leave",
      async ({ store }) => {
        const outputs = '{"rows":1}';
        for (const id of ["one", "two"]) await store.transact(create(id));
        const [one, two] = ["one", "two"].map((id) => taskRun(id, { task_instance_id: `of ${id}` }));
        if (one === undefined || two === undefined) throw new Error("there are two");
        const states = (task: TaskRunRecord) => {
          const begun: TaskRunRecord = { ...task, status: "RUNNING", status_at_ms: 10, started_at_ms: 10 };
          const ended = {
            ...begun,
            status: "COMPLETED",
            status_at_ms: 15,
            finished_at_ms: 15,
            outputs,
          } as const;
          return [begun, ended] as const;
        };
        const [begun, ended] = states(one);
        await store.transact(async (tx) => {
          await tx.transitionTask(begun, null, OF);
          await tx.transitionTask(ended, "RUNNING", OF);
        });
        await store.transact((tx) => tx.wholeTask(...states(two), OF));
        const left = async (id: string) => {
          const of = await store.read((tx) => tx.listTaskRuns(id));
          const rows = await store.takeStatuses(0, 100);
          const run = await store.read((tx) => runOf(tx, id));
          return JSON.stringify([
            of,
            rows.flatMap(({ table, row }) =>
              table === "task_run_status" && row.workflow_instance_id === id ? [row] : [],
            ),
            run.tasks_done,
          ]).replaceAll(id, "a run");
        };
        expect(await left("two")).toBe(await left("one"));
        expect(await left("two")).toContain("RUNNING");
        const twice = await refused(store, (tx) => tx.wholeTask(...states(two), OF));
        expect(twice).toBeInstanceOf(Error);
        const [, unbegun] = states(taskRun("two", { task_instance_id: "another" }));
        expect(await refused(store, (tx) => tx.wholeTask(unbegun, unbegun, OF))).toBeInstanceOf(
          IllegalTransitionError,
        );
      },
    );

    given("of an agent, its key or its stream", async ({ store }) => {
      await store.transact(register("a"));
      const agent = await store.read((tx) => agentOf(tx, "a"));
      const another = (session_id: string): UnitOfWork<void> => {
        return (tx) => tx.registerAgent(agentRecord("a", { session_id }), agent, 60_000);
      };
      expect(await refused(store, register("a"))).toBeInstanceOf(StateConflictError);
      await store.transact(another("t"));
      expect(await refused(store, another("u"))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, (tx) => tx.transitionAgent(agent, "LOST"))).toBeInstanceOf(
        StateConflictError,
      );
      const present = await store.read((tx) => agentOf(tx, "a"));
      const back: UnitOfWork<void> = (tx) => tx.transitionAgent({ ...present, status: "LOST" }, "DRAINING");
      expect(await refused(store, back)).toBeInstanceOf(IllegalTransitionError);
      // It was heard of meanwhile: whoever takes it for lost must look again.
      await store.transact((tx) => tx.heardOfAgent(present, 90_000, 7));
      expect(await refused(store, (tx) => tx.transitionAgent(present, "LOST"))).toBeInstanceOf(
        StateConflictError,
      );
      await store.transact(async (tx) => tx.transitionAgent(await agentOf(tx, "a"), "GONE"));
      expect(await store.read((tx) => tx.getAgent("a"))).toBeNull();

      await store.transact((tx) => tx.transferAgentKey("a", null, "one", 1));
      const transfer = (from: string | null, to: string | null): UnitOfWork<void> => {
        return (tx) => tx.transferAgentKey("a", from, to, 1);
      };
      expect(await refused(store, transfer(null, "two"))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, transfer("two", "three"))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, transfer("two", null))).toBeInstanceOf(StateConflictError);
      await store.transact(transfer("one", "two"));
      expect(await store.read((tx) => tx.getAgentKey("a"))).toBe("two");

      const advance = (agentId: string, from: number | null, to: number): UnitOfWork<void> => {
        return (tx) => tx.advanceStream("stream", agentId, from, to, 1);
      };
      await store.transact(advance("a", null, 0));
      await store.transact(advance("a", 0, 5));
      expect(await refused(store, advance("a", null, 7))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, advance("a", 4, 7))).toBeInstanceOf(StateConflictError);
      expect(await refused(store, advance("b", 5, 7))).toBeInstanceOf(StateConflictError);
      expect(await store.read((tx) => tx.getStream("stream"))).toEqual({ agent_id: "a", seq: 5 });
    });
  });

  describe(`${name}: feeds`, () => {
    given("a reader that follows its cursor sees every row once, while others commit", async ({ store }) => {
      const writing = Array.from({ length: 200 }, async (_, i) => {
        if (i % 20 === 0) await new Promise((turn) => setImmediate(turn));
        const unit = store.transact(async (tx) => {
          await create(`run-${i}`)(tx);
          await tx.appendFollowUp({ ...FOLLOW_UP, after_workflow_instance_id: `run-${i}` });
          if (i % 7 === 0) throw new CdktrError("no");
        });
        await unit.catch(() => {});
      });
      let isWriting = true;
      void Promise.all(writing).then(() => {
        isWriting = false;
      });
      const statuses: string[] = [];
      const followUps: string[] = [];
      let cursor = 0;
      let seq = 0;
      for (let isLast = false; !isLast; ) {
        isLast = !isWriting;
        for (const row of await store.takeStatuses(cursor, 9)) {
          expect(row.id).toBeGreaterThan(cursor);
          cursor = row.id;
          if (row.table === "workflow_run_status") statuses.push(row.row.workflow_instance_id);
          isLast = false;
        }
        for (const row of await store.read((tx) => tx.listFollowUps(seq, 9))) {
          expect(row.seq).toBeGreaterThan(seq);
          seq = row.seq;
          followUps.push(row.after_workflow_instance_id);
          isLast = false;
        }
        await new Promise((turn) => setImmediate(turn));
      }
      const committed = Array.from({ length: 200 }, (_, i) => i).filter((i) => i % 7 !== 0);
      expect(statuses.sort()).toEqual(committed.map((i) => `run-${i}`).sort());
      expect(followUps.sort()).toEqual(committed.map((i) => `run-${i}`).sort());
    });

    given("rows that were acknowledged are gone, and their numbers are never used again", async (state) => {
      await state.store.transact(create("one"));
      await state.store.transact(create("two"));
      const [first, second] = await state.store.takeStatuses(0, 10);
      await state.store.ackStatuses(first?.id ?? 0);
      expect(await state.store.takeStatuses(0, 10)).toEqual(second === undefined ? [] : [second]);
      await state.store.ackStatuses(second?.id ?? 0);
      const again = await state.reopen();
      expect(await again.takeStatuses(0, 10)).toEqual([]);
      await again.transact(create("three"));
      const [third] = await again.takeStatuses(0, 10);
      expect(third?.id).toBeGreaterThan(second?.id ?? Number.POSITIVE_INFINITY);
      await using other = await make();
      await other.store.transact(create("four"));
      expect((await other.store.takeStatuses(0, 10))[0]?.id).toBeGreaterThan(
        third?.id ?? Number.POSITIVE_INFINITY,
      );
    });

    given(
      "follow-ups begin where a new reader should, and keep their numbers when old ones go",
      async ({ store }) => {
        const { id } = await store.read((tx) => tx.followUpFeed());
        for (const created_at_ms of [1000, 2000, 3000])
          await store.transact((tx) => tx.appendFollowUp({ ...FOLLOW_UP, created_at_ms }));
        const [, second, third] = await store.read((tx) => tx.listFollowUps(0, 10));
        const last_seq = third?.seq ?? 0;
        expect(await store.read((tx) => tx.followUpFeed())).toEqual({ id, last_seq });
        expect(await store.read((tx) => tx.followUpsBefore(2500, last_seq))).toBe(second?.seq ?? 0);
        expect(await store.read((tx) => tx.followUpsBefore(9000, last_seq))).toBe(last_seq);
        await store.transact((tx) => tx.forget({ keepRuns: 1, olderThanMs: 0, followUpsOlderThanMs: 9000 }));
        expect(await store.read((tx) => tx.followUpFeed())).toEqual({ id, last_seq });
        await store.transact((tx) => tx.appendFollowUp(FOLLOW_UP));
        expect((await store.read((tx) => tx.listFollowUps(last_seq, 10)))[0]?.seq).toBeGreaterThan(last_seq);
      },
    );

    given("the latest status of each workflow, newest first", async ({ store }) => {
      for (const workflow_id of ["a", "b", "c"]) await store.transact(create(workflow_id, { workflow_id }));
      const run = await store.read((tx) => runOf(tx, "a"));
      await store.transact((tx) =>
        tx.transitionRun(run, { status: "RUNNING", status_at_ms: 7, error: null }),
      );
      expect(await store.read((tx) => tx.recentStatuses(2))).toEqual([
        { workflow_id: "a", workflow_instance_id: "a", status: "RUNNING", timestamp_ms: 7 },
        { workflow_id: "c", workflow_instance_id: "c", status: "PENDING", timestamp_ms: 1000 },
      ]);
    });
  });

  describe(`${name}: what is asked of it`, () => {
    given("runs by the beginning of their id, by workflow and by status, newest first", async ({ store }) => {
      await store.transact(create("abc-1", { workflow_id: "a" }));
      await store.transact(create("abc-2", { workflow_id: "b", created_at_ms: 7 }));
      await store.transact(create("xyz", { workflow_id: "a" }));
      const over = { status: "CANCELLED", status_at_ms: 9, finished_at_ms: 9, error: null } as const;
      expect(await store.read((tx) => tx.oldestFinishedMs(5))).toBeNull();
      await store.transact(async (tx) => tx.transitionRun(await runOf(tx, "abc-2"), over));
      const ids = (read: UnitOfWork<Pick<RunRecord, "workflow_instance_id">[]>) =>
        store.read(async (tx) => (await read(tx)).map((run) => run.workflow_instance_id));
      expect((await ids((tx) => tx.findRuns("abc", 5))).sort()).toEqual(["abc-1", "abc-2"]);
      expect(await ids((tx) => tx.findRuns("abc", 1))).toHaveLength(1);
      expect(await ids((tx) => tx.findRuns("b", 5))).toEqual([]);
      expect(await ids((tx) => tx.listRuns({ limit: 2 }))).toEqual(["xyz", "abc-2"]);
      expect(await store.read((tx) => tx.listRuns({ limit: 1 }))).toEqual([
        withoutParams(pendingRun("xyz", { workflow_id: "a" })),
      ]);
      expect(await ids((tx) => tx.listRuns({ limit: 5, workflow_id: "a" }))).toEqual(["xyz", "abc-1"]);
      expect(await ids((tx) => tx.listRuns({ limit: 5, status: "CANCELLED" }))).toEqual(["abc-2"]);
      expect(await ids((tx) => tx.listRuns({ limit: 5, workflow_id: "a", status: "CANCELLED" }))).toEqual([]);
      expect(await ids((tx) => tx.listRuns({ limit: 5, id_prefix: "abc-" }))).toEqual(["abc-2", "abc-1"]);
      expect(await ids((tx) => tx.listRuns({ limit: 5, id_prefix: "abc-", workflow_id: "b" }))).toEqual([
        "abc-2",
      ]);
      expect(await store.read((tx) => tx.oldestFinishedMs(5))).toBe(7);
      await store.transact(async (tx) => tx.transitionRun(await runOf(tx, "xyz"), over));
      expect(await store.read((tx) => tx.oldestFinishedMs(5))).toBe(7);
      expect(await store.read((tx) => tx.oldestFinishedMs(1))).toBe(1000);
      expect(await store.read((tx) => tx.getRun("abc-1"))).toEqual(pendingRun("abc-1", { workflow_id: "a" }));
      expect(await store.read((tx) => tx.getRun("abc"))).toBeNull();
    });

    given("the firings of a schedule that no agent has taken, oldest first", async ({ store }) => {
      await store.transact(register("a"));
      const firing = { trigger: "cron", scheduled_time_ms: 900 };
      await store.transact(create("taken", firing));
      await store.transact((tx) => claimed(tx, "a"));
      await store.transact(create("one", firing));
      await store.transact(create("two", { ...firing, scheduled_time_ms: 1900, created_at_ms: 2000 }));
      await store.transact(create("three", { ...firing, scheduled_time_ms: 2900, created_at_ms: 3000 }));
      await store.transact(create("other", { ...firing, workflow_id: "other" }));
      await store.transact(create("by-hand", { ...firing, trigger: "cli" }));
      await store.transact(create("no-time", { ...firing, scheduled_time_ms: null }));
      await store.transact(create("again", { ...firing, attempt: 2 }));
      const waiting = (dueMs: number, limit = 9) =>
        store.read(async (tx) => {
          const runs = await tx.waitingFirings("flow", dueMs, limit);
          return runs.map((run) => run.workflow_instance_id);
        });
      expect(await waiting(2900)).toEqual(["one", "two"]);
      expect(await waiting(2900, 1)).toEqual(["one"]);
      // Queued in the same moment as, or after, the next one was due: it is still fresh.
      expect(await waiting(2000)).toEqual(["one"]);
      const skipped = { status: "SKIPPED", status_at_ms: 3100, finished_at_ms: 3100, error: "late" } as const;
      await store.transact(async (tx) => tx.transitionRun(await runOf(tx, "one"), skipped));
      expect(await waiting(9000)).toEqual(["two", "three"]);
    });

    given("stores a definition again after whatever may have removed it", async ({ store }) => {
      const make = (id: string): UnitOfWork<void> => create(id, { definition_hash: "other" });
      const failing = store.transact(async (tx) => {
        await make("undone")(tx);
        throw new Error("undone");
      });
      await expect(failing).rejects.toThrow("undone");
      await store.transact(make("one"));
      expect(await store.read((tx) => tx.getDefinition("other"))).toBe("{}");
      const over = { status: "CANCELLED", status_at_ms: 2000, finished_at_ms: 2000, error: null } as const;
      await store.transact(async (tx) => tx.transitionRun(await runOf(tx, "one"), over));
      await store.ackStatuses(Number.MAX_SAFE_INTEGER);
      await store.transact((tx) => tx.forget({ keepRuns: 0, olderThanMs: 0, followUpsOlderThanMs: 0 }));
      expect(await store.read((tx) => tx.getDefinition("other"))).toBeNull();
      await store.transact(make("two"));
      expect(await store.read((tx) => tx.getDefinition("other"))).toBe("{}");
    });

    given(
      "waiting firings of one entry, also those that their concurrency group holds",
      async ({ store }) => {
        const firing = {
          trigger: "cron",
          scheduled_time_ms: 1000,
          created_at_ms: 1100,
          schedule: "one",
        } as const;
        const held = { queued: false, hold: "group", group_key: "g x", group_max: 1 } as const;
        await store.transact(create("queued", firing));
        await store.transact(create("other entry", { ...firing, schedule: "two" }));
        await store.transact(create("no entry", { ...firing, schedule: null }));
        await store.transact(create("held", { ...firing, ...held }));
        await store.transact(create("paused", { ...firing, queued: false, hold: "pause" }));
        await store.transact(create("no firing", { ...firing, ...held, trigger: "cli" }));
        const waiting = (entry?: string) =>
          store.read(async (tx) => {
            const runs = await tx.waitingFirings("flow", 2000, 9, entry);
            return runs.map((run) => run.workflow_instance_id);
          });
        expect(await waiting("one")).toEqual(["queued", "held"]);
        expect(await waiting("two")).toEqual(["other entry"]);
        expect(await waiting()).toEqual(["no entry"]);
      },
    );

    given("tasks in the order in which they came, and how many run on which agent", async ({ store }) => {
      await store.transact(register("a"));
      await store.transact(create("one"));
      const { attempt } = await store.transact((tx) => claimed(tx, "a"));
      const tasks = ["z", "y", "x"].map((id) =>
        taskRun("one", { task_instance_id: id, task_id: id, status: "RUNNING" }),
      );
      for (const task of tasks) await store.transact((tx) => tx.transitionTask(task, null, OF));
      expect(await store.read((tx) => tx.listTaskRuns("one"))).toEqual(tasks);
      const running = () => store.read(async (tx) => [...(await tx.countRunningTasks())]);
      expect(await running()).toEqual([["a", 3]]);
      await store.transact(async (tx) => {
        for (const task of tasks.slice(1))
          await tx.transitionTask({ ...task, status: "COMPLETED" }, "RUNNING", OF);
      });
      expect(await running()).toEqual([["a", 1]]);
      expect(await store.read((tx) => tx.completedTasks("one"))).toEqual(["y", "x"]);
      await store.transact((tx) => tx.transitionLease(attempt, { lease: "REVOKED", status: "CRASHED" }));
      expect(await running()).toEqual([]);
      expect(await store.read((tx) => tx.openAttempts("a"))).toEqual([]);
      // What completed in an attempt may have to run again.
      const forget = (attempt: number, ...ids: string[]) =>
        store.transact((tx) => tx.forgetCompleted({ workflow_instance_id: "one", slice: 0, attempt }, ids));
      await forget(1);
      await forget(2, "y");
      await forget(1, "y", "z");
      expect(await store.read((tx) => tx.completedTasks("one"))).toEqual(["x"]);
      expect(await store.read((tx) => tx.listTasks("one"))).toHaveLength(2);
      expect(await store.read((tx) => runOf(tx, "one"))).toMatchObject({ tasks_done: 1 });
      expect(await store.read((tx) => tx.listAttempts("one"))).toHaveLength(1);
    });

    given(
      "what of a run waits and what runs; and one that rests is RUNNING, with rows of WAITING",
      async ({ store }) => {
        const restOf = () => store.read((tx) => tx.restOf("split"));
        const set = (id: string, status: RunStatus, from: RunStatus | null, over = {}) =>
          store.transact((tx) =>
            tx.transitionTask(
              taskRun("split", { task_instance_id: id, task_id: id, status, ...over }),
              from,
              OF,
            ),
          );
        await store.transact(async (tx) => {
          await tx.createRun(SPLIT, "{}", []);
          await tx.transitionRun(SPLIT, {
            status: "RUNNING",
            status_at_ms: 1001,
            started_at_ms: 1001,
            error: null,
          });
        });
        expect(await restOf()).toEqual({ waiting: 0, since_ms: null, busy: 0 });
        expect(await store.read((tx) => tx.runsThatMayRest())).toEqual([]);
        await set("a", "WAITING", null, { status_at_ms: 7 });
        await set("b", "WAITING", null, { status_at_ms: 9 });
        await set("c", "RUNNING", null);
        // A fan-out is what its items are.
        await set("d", "RUNNING", null, { items_total: 2 });
        expect(await restOf()).toEqual({ waiting: 2, since_ms: 9, busy: 1 });
        expect(await store.read((tx) => tx.runsThatMayRest())).toEqual(["split"]);
        await set("c", "COMPLETED", "RUNNING");
        expect(await restOf()).toMatchObject({ busy: 0 });
        const slice = { slice: 1, tasks: ["e"], needs: "", is_hook: false };
        await store.transact(async (tx) => tx.addSlices(await runOf(tx, "split"), [slice], 1));
        expect(await restOf()).toMatchObject({ busy: 1 });
        await store.transact(async (tx) => {
          for (const queued of await tx.listSlices("split", "open")) await tx.endSlice(queued);
          const run = await runOf(tx, "split");
          expect(await tx.restRun(run, true, 2000)).toMatchObject({ status: "RUNNING", resting: true });
        });
        const run = await store.read((tx) => runOf(tx, "split"));
        expect(run).toMatchObject({ status: "RUNNING", resting: true, status_at_ms: 2000 });
        const listed = (filter: object) =>
          store.read(async (tx) => (await tx.listRuns({ limit: 9, ...filter })).length);
        expect([
          await listed({ status: "WAITING" }),
          await listed({ status: "RUNNING" }),
          await listed({ status: "RUNNING", waiting: true }),
        ]).toEqual([1, 1, 0]);
        const over = { status: "COMPLETED", status_at_ms: 3000, finished_at_ms: 3000, error: null } as const;
        await store.transact((tx) => tx.transitionRun(run, over));
        expect(await store.read((tx) => runOf(tx, "split"))).toMatchObject({ resting: false });
        const rows = await store.takeStatuses(0, 100);
        const told = rows.flatMap(({ table, row }) => (table === "workflow_run_status" ? [row.status] : []));
        expect(told).toEqual(["PENDING", "RUNNING", "WAITING", "COMPLETED"]);
      },
    );

    given("the versions of workflows", async ({ store }) => {
      const changed = { ...VERSION, texts: Uint8Array.of(2) };
      await store.transact((tx) => tx.putWorkflowVersion(VERSION));
      await store.transact((tx) => tx.putWorkflowVersion(changed));
      await store.transact((tx) => tx.setSchedule("flow", "daily", 1));
      expect(await store.read((tx) => tx.listWorkflowVersions())).toEqual([changed]);
      expect(await store.read((tx) => tx.listWorkflowVersions("flow", 1))).toEqual([]);
      expect(await store.read((tx) => tx.listPlainVersions("", 10))).toEqual([]);
      await store.transact((tx) => tx.dropWorkflow("flow"));
      expect(await store.read((tx) => tx.listWorkflowVersions())).toEqual([]);
      expect(await store.read((tx) => tx.listScheduleCursors())).toEqual([]);
    });
  });

  describe(`${name}: schedules`, () => {
    given(
      "a cursor moves forward, begins anew with another schedule, and one in the future holds nothing up",
      async ({ store }) => {
        const cursor = async () => (await store.read((tx) => tx.listScheduleCursors()))[0];
        const move = (to: number) => store.transact((tx) => tx.moveSchedule("flow", to, 5000));
        await move(1);
        expect(await cursor()).toBeUndefined();
        await store.transact((tx) => tx.setSchedule("flow", "daily", 1000));
        await move(2000);
        await store.transact((tx) => tx.setSchedule("flow", "daily", 3000));
        await move(1500);
        expect(await cursor()).toEqual({ workflow_id: "flow", schedule: "daily", cursor_ms: 2000 });
        await store.transact((tx) => tx.setSchedule("flow", "hourly", 9000));
        expect(await cursor()).toEqual({ workflow_id: "flow", schedule: "hourly", cursor_ms: 9000 });
        await move(4000);
        expect((await cursor())?.cursor_ms).toBe(4000);
        await store.transact((tx) => tx.setSchedule("flow", null, 1));
        expect(await cursor()).toBeUndefined();
      },
    );
  });

  describe(`${name}: schedules of several entries`, () => {
    given("have a position each, which goes on when others come and go", async ({ store }) => {
      const positions = async () =>
        new Map(
          (await store.read((tx) => tx.listSchedulePositions())).map((one) => [one.entry, one.cursor_ms]),
        );
      const set = (of: [string, number][]) => store.transact((tx) => tx.setPositions("flow", new Map(of)));
      const move = (entry: string, to: number) =>
        store.transact((tx) => tx.moveSchedule("flow", to, 5000, entry));
      await set([
        ["a", 1000],
        ["b", 1000],
      ]);
      await move("a", 2000);
      await move("a", 1500);
      await move("c", 3000);
      expect(await positions()).toEqual(new Map(Object.entries({ a: 2000, b: 1000 })));
      await set([
        ["a", 9000],
        ["c", 9000],
      ]);
      expect(await positions()).toEqual(new Map(Object.entries({ a: 2000, c: 9000 })));
      await move("c", 4000);
      expect((await positions()).get("c")).toBe(4000);
      await set([]);
      expect(await positions()).toEqual(new Map());
      await set([["a", 1]]);
      await store.transact((tx) => tx.dropWorkflow("flow"));
      expect(await positions()).toEqual(new Map());
    });
  });

  describe(`${name}: blobs`, () => {
    const HOUR = 3_600_000;
    const artifacts = (run: string, task: string, hash: string, bytes = 10) => ({
      workflow_instance_id: run,
      task_id: task,
      item_key: null,
      item_index: null,
      task_instance_id: `${task}-instance`,
      hash,
      bytes,
      files: '[{"path":"x","bytes":1,"offset":512}]',
    });

    given("a blob stays as long as something refers to it, and an hour after it came", async ({ store }) => {
      await store.transact(async (tx) => {
        await create("r1")(tx);
        for (const hash of ["bundle", "upload", "artifact", "unused"]) await tx.addBlob(hash, 5, 1000);
        await tx.referToBlob("r1", "bundle", "", "bundle");
        await tx.referToBlob("r1", "upload", "a-instance", "upload");
        await tx.putArtifacts(artifacts("r1", "a", "artifact"));
      });
      const unused = (beforeMs: number) => store.read((tx) => tx.unusedBlobs(beforeMs, 10));
      expect(await unused(1000)).toEqual([]);
      expect(await unused(1001)).toEqual(["unused"]);
      // Somebody is about to refer to it.
      await store.transact((tx) => tx.addBlob("unused", 5, HOUR));
      expect(await unused(1001)).toEqual([]);
      expect(await store.transact((tx) => tx.dropBlob("unused", 1001))).toBe(false);
      expect(await store.read((tx) => tx.hasBlob("unused"))).toBe(true);
      expect(await store.transact((tx) => tx.dropBlob("unused", HOUR + 1))).toBe(true);
      expect(await store.transact((tx) => tx.dropBlob("bundle", HOUR + 1))).toBe(false);
      expect(await store.read((tx) => tx.hasBlob("unused"))).toBe(false);
      expect(await store.read((tx) => tx.countBlobs())).toEqual({ blobs: 3, bytes: 15 });
    });

    given("a run refers to one blob of a kind and a task", async ({ store }) => {
      await store.transact(async (tx) => {
        await create("r1")(tx);
        await tx.addBlob("one", 5, 0);
        await tx.addBlob("two", 6, 0);
        await tx.referToBlob("r1", "bundle", "", "one");
        await tx.referToBlob("r1", "bundle", "", "two");
      });
      const of = (run: string) => store.read((tx) => tx.referredBlob(run, "bundle", ""));
      expect(await of("r1")).toEqual({ hash: "two", bytes: 6 });
      expect(await of("r3")).toBeNull();
      expect(await store.read((tx) => tx.unusedBlobs(1, 10))).toEqual(["one"]);
    });

    given(
      "what a run is about to leave ends with it; what it left stays when it is forgotten",
      async ({ store }) => {
        await store.transact(async (tx) => {
          await create("open")(tx);
          await create("over", { status: "COMPLETED", queued: false, finished_at_ms: 2000 })(tx);
          for (const run of ["open", "over"]) {
            await tx.addBlob(`upload-${run}`, 5, 0);
            await tx.addBlob(`bundle-${run}`, 5, 0);
            await tx.addBlob(`kept-${run}`, 5, 0);
            await tx.referToBlob(run, "upload", "x", `upload-${run}`);
            await tx.referToBlob(run, "bundle", "", `bundle-${run}`);
            await tx.putArtifacts(artifacts(run, "a", `kept-${run}`));
          }
          await tx.endUploads();
        });
        const unused = () => store.read(async (tx) => (await tx.unusedBlobs(1, 10)).toSorted());
        expect(await unused()).toEqual(["upload-over"]);
        await store.ackStatuses((await store.takeStatuses(0, 10)).at(-1)?.id ?? 0);
        const forget = { keepRuns: 0, olderThanMs: 0, followUpsOlderThanMs: 0 };
        expect((await store.transact((tx) => tx.forget(forget))).runs).toBe(1);
        await store.transact((tx) => tx.settleSlices());
        expect(await unused()).toEqual(["bundle-over", "upload-over"]);
        expect(await store.read((tx) => tx.artifactsOf("over"))).toEqual([
          artifacts("over", "a", "kept-over"),
        ]);
      },
    );

    given("artifacts are those of a task run, in order, and kept once", async ({ store }) => {
      await store.transact(async (tx) => {
        await create("r1")(tx);
        await tx.putArtifacts(artifacts("r1", "b", "h1"));
        await tx.putArtifacts(artifacts("r1", "a", "h2", 20));
        // The same report once more.
        await tx.putArtifacts(artifacts("r1", "b", "h1"));
      });
      const all = await store.read((tx) => tx.artifactsOf("r1"));
      expect(all.map(({ task_id }) => task_id)).toEqual(["b", "a"]);
      expect(await store.read((tx) => tx.archivesOf("r1", ["a", "c"]))).toEqual([
        { task_id: "a", item_key: null, hash: "h2", bytes: 20 },
      ]);
      const has = (run: string, hash: string) => store.read((tx) => tx.hasArtifacts(run, hash));
      expect(await Promise.all([has("r1", "h2"), has("r1", "h3"), has("r2", "h2")])).toEqual([
        true,
        false,
        false,
      ]);
      expect(await store.read((tx) => tx.artifactsBytes("r1", ""))).toBe(30);
      expect(await store.read((tx) => tx.artifactsBytes("r1", "a-instance"))).toBe(10);
    });

    given("a run to which tasks are carried has what they left", async ({ store }) => {
      await store.transact(async (tx) => {
        await create("r1")(tx);
        await tx.putArtifacts(artifacts("r1", "a", "h1"));
        await tx.putArtifacts(artifacts("r1", "b", "h2"));
        const carried = {
          task_id: "a",
          task_instance_id: "a-instance",
          status: "COMPLETED",
          attempt: 0,
        } as const;
        await tx.createRun(pendingRun("r2", { retry_of: "r1" }), "{}", [taskRun("r2", carried)]);
        await tx.carryArtifacts("r1", "r2");
      });
      expect(await store.read((tx) => tx.artifactsOf("r2"))).toEqual([
        { ...artifacts("r1", "a", "h1"), workflow_instance_id: "r2" },
      ]);
    });
  });

  describe(`${name}: secrets`, () => {
    test("are replaced, listed without what was sealed, and dropped once", async () => {
      await using under = await make();
      const sealed = (text: string) => new TextEncoder().encode(text);
      const put = (secret: string, text: string, actor: string | null, changed_at_ms: number) =>
        under.store.transact((tx) =>
          tx.putSecret({ name: secret, sealed: sealed(text), actor, changed_at_ms }),
        );
      await put("b", "one", "ada", 1);
      await put("a", "two", null, 2);
      await put("b", "three", null, 3);
      const store = await under.reopen();
      expect(await store.read((tx) => tx.listSecrets())).toEqual([
        { name: "a", actor: null, changed_at_ms: 2 },
        { name: "b", actor: null, changed_at_ms: 3 },
      ]);
      const found = await store.read((tx) => tx.getSecrets(["b", "c"]));
      expect([...found].map(([key, value]) => [key, new TextDecoder().decode(value)])).toEqual([
        ["b", "three"],
      ]);
      expect(await store.transact((tx) => tx.dropSecret("b"))).toBe(true);
      expect(await store.transact((tx) => tx.dropSecret("b"))).toBe(false);
    });
  });

  describe(`${name}: rows that belong to no run`, () => {
    given(
      "are in the feed in the order of commits, and gone with the unit that wrote them",
      async ({ store }) => {
        await store.transact(async (tx) => {
          await tx.audit(auditRow);
          await create("one")(tx);
          await tx.logAlert(alertRow);
        });
        const failing = store.transact(async (tx) => {
          await tx.audit({ ...auditRow, subject: "undone" });
          throw new Error("undone");
        });
        await expect(failing).rejects.toThrow("undone");
        await store.transact((tx) => tx.audit({ ...auditRow, actor: null, detail: null }));
        const rows = await store.takeStatuses(0, 10);
        expect(rows.map(({ table }) => table)).toEqual([
          "audit_log",
          "workflow_run_status",
          "alert_log",
          "audit_log",
        ]);
        expect(rows[0]?.row).toEqual(auditRow);
        expect(rows[2]?.row).toEqual(alertRow);
        expect(rows[3]?.row).toEqual({ ...auditRow, actor: null, detail: null });
        // They are no status of a run: it is known as it is.
        const known = {
          workflow_instance_id: "one",
          attempt: 1,
          status: "PENDING",
          tasks: new Map(),
        } as const;
        expect(await store.compareWithHistory([known], 0, true)).toEqual({ unknown: [], changed: [] });
        await store.ackStatuses(rows[2]?.id ?? 0);
        expect(await store.takeStatuses(0, 10)).toHaveLength(1);
      },
    );
  });

  describe(`${name}: reasons`, () => {
    given("are rows of the run's status, and do not count as its latest status", async ({ store }) => {
      await store.transact(async (tx) => {
        await create("one", { status_at_ms: 1000, error: "of the attempt before" })(tx);
        await create("two", { workflow_id: "other" })(tx);
        await tx.noteReason("one", note("no agent is up"), 4000);
        await tx.noteReason("one", note("all agents are full", "[]"), 6000);
        await tx.noteReason("unknown", note("no agent is up"), 6000);
      });
      const rows = async () =>
        (await store.takeStatuses(0, 100)).flatMap(({ table, row }) =>
          table === "workflow_run_status" && row.workflow_instance_id === "one"
            ? [[row.status, row.timestamp_ms, row.error, row.reason, row.waits]]
            : [],
        );
      expect(await rows()).toEqual([
        ["PENDING", 1000, "of the attempt before", null, null],
        ["PENDING", 4000, null, "no agent is up", null],
        ["PENDING", 6000, null, "all agents are full", "[]"],
      ]);
      const noted = { workflow_instance_id: "one", status: "PENDING", attempt: 1 } as const;
      expect(await store.read((tx) => tx.notedReasons())).toEqual([
        { ...noted, ...note("all agents are full", "[]") },
      ]);
      expect((await store.read((tx) => tx.recentStatuses(1)))[0]?.workflow_id).toBe("other");
      expect((await store.read((tx) => tx.getRun("one")))?.status_at_ms).toBe(1000);
      await store.transact((tx) => tx.noteReason("one", null, 7000));
      await store.transact((tx) => tx.noteReason("one", null, 8000));
      expect((await rows()).slice(3)).toEqual([["PENDING", 7000, null, null, null]]);
      expect(await store.read((tx) => tx.notedReasons())).toEqual([]);
    });
  });

  describe(`${name}: forgetting`, () => {
    given("moves outputs that the history has, of the oldest finished runs first", async ({ store }) => {
      const publish = (id: string, task: string, outputs: string | null) => async (tx: OperationalTx) => {
        const run = taskRun(id, { task_instance_id: `${id}-${task}`, task_id: task, status: "RUNNING" });
        await tx.transitionTask(run, null, OF);
        await tx.transitionTask({ ...run, status: "COMPLETED", outputs }, "RUNNING", OF);
      };
      await store.transact(async (tx) => {
        for (const id of ["open", "over", "silent"])
          await create(
            id,
            id === "open" ? {} : { status: "FAILED", queued: false, finished_at_ms: 2000 },
          )(tx);
        await publish("open", "a", '{"n":"é"}')(tx);
        await publish("open", "b", '{"n":2}')(tx);
        await publish("over", "a", '{"n":3}')(tx);
        await publish("silent", "a", null)(tx);
      });
      const bytes = () => store.read((tx) => tx.outputsBytes());
      const move = (id: string, needed: string[] = []) => store.transact((tx) => tx.moveOutputs(id, needed));
      expect(await bytes()).toBe(24);
      expect(await store.read((tx) => tx.runsWithOutputs())).toEqual([
        { workflow_instance_id: "over", is_over: true },
        { workflow_instance_id: "open", is_over: false },
      ]);
      // The history does not have them yet.
      expect(await move("over")).toEqual({ bytes: 0, more: false });
      await store.ackStatuses((await store.takeStatuses(0, 100)).at(-1)?.id ?? 0);
      await store.transact(publish("open", "c", '{"n":4}'));
      expect(await move("over")).toEqual({ bytes: 7, more: false });
      expect(await move("open", ["b"])).toEqual({ bytes: 10, more: false });
      expect(await bytes()).toBe(14);
      expect(await store.read(async (tx) => [...(await tx.outputsOf("open", ["a", "b", "c"]))])).toEqual([
        ["b", '{"n":2}'],
        ["c", '{"n":4}'],
      ]);
      const moved = (id: string) => store.read((tx) => tx.movedOutputs(id));
      expect(await moved("open")).toEqual([{ task_id: "a", task_instance_id: "open-a" }]);
      // A run to which they were carried over knows it too.
      await store.transact(async (tx) => {
        const carried = (await tx.listTaskRuns("over")).map((task) => ({
          ...task,
          workflow_instance_id: "again",
          attempt: 0,
        }));
        await tx.createRun(pendingRun("again", { retry_of: "over" }), "{}", carried);
      });
      expect(await moved("again")).toEqual([{ task_id: "a", task_instance_id: "over-a" }]);
    });

    given("takes the oldest runs that are over, once their rows were acknowledged", async ({ store }) => {
      await store.transact(async (tx) => {
        for (let i = 1; i <= 6; i++) {
          const over = i === 2 ? {} : { status: "COMPLETED" as const, queued: false, finished_at_ms: 2000 };
          await create(`run-${i}`, { definition_hash: `hash-${i}`, ...over })(tx);
        }
        await tx.claimKey("old", "run-1", 10);
        await tx.claimKey("young", "run-6", 1000);
      });
      const forget = () =>
        store.transact((tx) => tx.forget({ keepRuns: 3, olderThanMs: 500, followUpsOlderThanMs: 0 }));
      const left = () =>
        store.read(async (tx) => (await tx.listRuns({ limit: 10 })).map((run) => run.workflow_instance_id));
      expect(await forget()).toEqual({ runs: 0, more: false });
      expect(await left()).toHaveLength(6);
      await store.ackStatuses((await store.takeStatuses(0, 10)).at(-1)?.id ?? 0);
      expect(await forget()).toEqual({ runs: 2, more: false });
      expect(await left()).toEqual(["run-6", "run-5", "run-4", "run-2"]);
      const kept = await store.read(async (tx) => [
        await tx.getDefinition("hash-1"),
        await tx.getDefinition("hash-2"),
      ]);
      expect(kept).toEqual([null, "{}"]);
      expect(await store.transact((tx) => tx.claimKey("old", "another", 1))).toBe("another");
      expect(await store.transact((tx) => tx.claimKey("young", "another", 1))).toBe("run-6");
    });
  });
}
