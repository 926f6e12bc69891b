/** The part of a principal from the end of a run to its delivery, all real, which dies at a given step. As a program: kill-world.ts JSON */

import { systemClock } from "../../../src/clock.ts";
import { EventHub } from "../../../src/event-hub.ts";
import { Alerts } from "../../../src/principal/alerts/alerts.ts";
import { Deliveries } from "../../../src/principal/alerts/deliveries.ts";
import { type OutgoingMessage, SendError } from "../../../src/principal/alerts/senders/sender.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import { SqliteOperationalStore } from "../../../src/storage/operational/sqlite/store.ts";
import { pendingRun, silent } from "../../storage/operational-support.ts";

/** What is to happen. */
export interface KillPlan {
  readonly directory: string;
  /** Where messages are posted. */
  readonly url: string;
  /** How many runs fail one after the other, and how many of them in the same commit. */
  readonly runs: number;
  readonly atOnce: number;
  /** It dies before this statement, counted from the end of the first run; or before or after this message is sent. */
  readonly dies:
    | { readonly statement: number }
    | { readonly before: number }
    | { readonly after: number }
    | null;
}

/** Ends the runs that are not over, and returns when everything was told. */
export async function play({ directory, url, runs, atOnce, dies }: KillPlan): Promise<void> {
  let isArmed = false;
  let statements = 0;
  let sends = 0;
  const step = (kind: "statement" | "before" | "after", n: number): void => {
    if (dies !== null && kind in dies && (dies as Record<string, number>)[kind] === n) {
      process.kill(process.pid, "SIGKILL");
      for (;;);
    }
  };
  const store = new SqliteOperationalStore({
    directory,
    log: silent,
    beforeStatement: () => {
      if (isArmed) step("statement", ++statements);
    },
  });
  await store.start();
  const events: PrincipalEvents = new EventHub();
  const clock = systemClock;
  const definitions = { of: async () => null };
  const alerts = new Alerts({ store, clock, events, definitions, log: silent });
  alerts.follow({ notifyOf: () => [{ to: ["hook"] }], notify: [], groupMsOf: () => 0 });
  await alerts.start();
  const send = async (message: OutgoingMessage): Promise<void> => {
    step("before", ++sends);
    const response = await fetch(url, { method: "POST", body: JSON.stringify(message) });
    if (!response.ok) throw new SendError(`status ${response.status}`);
    step("after", sends);
  };
  const channel = { groupMs: 0, limit: { messages: 100_000, per_ms: 1000 }, sender: { send } };
  const deliveries = new Deliveries({
    store,
    clock,
    events,
    alerts,
    log: silent,
    channels: { get: (name) => (name === "hook" ? channel : undefined) },
  });
  await deliveries.start();
  isArmed = true;
  for (let first = 1; first <= runs; first += atOnce) {
    const ids = Array.from({ length: Math.min(atOnce, runs - first + 1) }, (_, n) => `run-${first + n}`);
    await Promise.all(
      ids.map((id) =>
        store.transact(async (tx) => {
          if ((await tx.getRun(id)) !== null) return;
          const run = pendingRun(id);
          await tx.createRun(run, "{}", []);
          const failed = {
            status: "FAILED",
            status_at_ms: 2000,
            finished_at_ms: 2000,
            error: "why",
          } as const;
          await alerts.ended(tx, await tx.transitionRun(run, failed));
        }),
      ),
    );
  }
  for (;;) {
    const idle = deliveries.signals.next("looked", (sending) => sending === 0);
    events.emit("alerts changed");
    await idle;
    const { due, isSending } = await store.read((tx) => tx.nextDeliveries());
    if (due.size === 0 && !isSending) break;
  }
  await deliveries.stop();
  await store.stop();
}

if (import.meta.main) await play(JSON.parse(process.argv[2] ?? ""));
