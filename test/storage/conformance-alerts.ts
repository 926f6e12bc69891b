/** Tests of alerts and their deliveries that every implementation of the operational store must pass. */
import { describe, expect, test } from "bun:test";
import type { AlertRecord, DeliveryRecord } from "../../src/storage/operational/alerts.ts";
import { IllegalTransitionError } from "../../src/storage/operational/legal.ts";
import type { OperationalStore, OperationalTx } from "../../src/storage/operational/store.ts";
import type { StoreUnderTest } from "./conformance.ts";
import { pendingRun } from "./operational-support.ts";

const alert = (n: number, over: Partial<AlertRecord> = {}): AlertRecord => ({
  alert_id: `alert-${n}`,
  kind: "late",
  key: `late flow ${n}`,
  workflow_id: "flow",
  workflow_instance_id: `run-${n}`,
  subject: `flow is late (${n})`,
  facts: `{"n":${n}}`,
  raised_at_ms: 1000 + n,
  resolved_at_ms: null,
  ...over,
});

const delivery = (
  n: number,
  channel: string,
  over: { about?: "raised" | "resolved"; due_ms?: number } = {},
) => ({
  alert_id: `alert-${n}`,
  channel,
  about: "raised" as const,
  created_at_ms: 1000 + n,
  due_ms: 2000,
  ...over,
});

/** Raises alerts 1 to `count`, and tells a channel of each. */
async function raised(tx: OperationalTx, count: number, channel = "ops"): Promise<void> {
  for (let n = 1; n <= count; n++) {
    await tx.raiseAlert(alert(n));
    await tx.addDelivery(delivery(n, channel));
  }
}

/** What happened to alerts, as the history is told. */
async function logged(store: OperationalStore): Promise<string[]> {
  const rows = await store.takeStatuses(0, 1000);
  return rows.flatMap((pending) =>
    pending.table === "alert_log"
      ? [
          [pending.row.event, pending.row.alert_id, pending.row.channel, pending.row.error]
            .filter(Boolean)
            .join(" "),
        ]
      : [],
  );
}

const states = (rows: readonly DeliveryRecord[]) =>
  rows.map(
    (row) => `${row.alert_id} ${row.channel} ${row.about} ${row.state} ${row.attempts} ${row.error ?? "-"}`,
  );

/** Defines the tests of a store. */
export function describeAlerts(name: string, make: () => Promise<StoreUnderTest>): void {
  const given = (what: string, body: (state: StoreUnderTest) => Promise<void>) =>
    test(what, async () => {
      await using state = await make();
      await body(state);
    });

  describe(`${name}: alerts`, () => {
    given(
      "one with a key is open at most, also after a restart; a further one follows its end",
      async (state) => {
        const { store } = state;
        const twice = { alert_id: "another", key: "late flow 1" };
        expect(await store.transact((tx) => tx.raiseAlert(alert(1)))).toBe(true);
        expect(await store.transact((tx) => tx.raiseAlert(alert(2, twice)))).toBe(false);
        const again = await state.reopen();
        expect(await again.read((tx) => tx.openAlerts())).toEqual([
          { kind: "late", key: "late flow 1", workflow_instance_id: "run-1" },
        ]);
        await again.transact(async (tx) => {
          expect(await tx.resolveAlert("late flow 1", 5000)).toEqual(alert(1, { resolved_at_ms: 5000 }));
          expect(await tx.resolveAlert("late flow 1", 6000)).toBeNull();
          expect(await tx.raiseAlert(alert(2, twice))).toBe(true);
        });
        expect(await logged(again)).toEqual(["raised alert-1", "resolved alert-1", "raised another"]);
      },
    );

    given(
      "events are over as they are raised; a clock that was set back ends nothing before it began",
      async ({ store }) => {
        await store.transact(async (tx) => {
          const event = { kind: "failed", key: "failed flow run-1", resolved_at_ms: 1001 };
          expect(await tx.raiseAlert(alert(1, event))).toBe(true);
          expect(await tx.openAlerts()).toEqual([]);
          await tx.raiseAlert(alert(2));
          expect((await tx.resolveAlert("late flow 2", 7))?.resolved_at_ms).toBe(1002);
        });
      },
    );

    given("are listed newest first, by state, kind and workflow", async ({ store }) => {
      await store.transact(async (tx) => {
        await raised(tx, 3);
        await tx.raiseAlert(alert(4, { kind: "agent_lost", key: "agent_lost a", workflow_id: null }));
        await tx.resolveAlert("late flow 2", 3000);
        const message = await tx.claimMessage("ops", 2000, 2000, "m1", 10);
        expect(message?.alerts).toHaveLength(3);
        await tx.settleMessage({ channel: "ops", message_id: "m1" }, { state: "DEAD", error: "gone" }, 2100);
      });
      const ids = (filter: Parameters<OperationalTx["listAlerts"]>[0]) =>
        store.read(async (tx) =>
          (await tx.listAlerts(filter)).map(({ alert_id }) => alert_id.slice(6)).join(),
        );
      expect(await ids({ which: "all", limit: 10 })).toBe("4,3,2,1");
      expect(await ids({ which: "all", limit: 2 })).toBe("4,3");
      expect(await ids({ which: "open", limit: 10 })).toBe("4,3,1");
      expect(await ids({ which: "open", kind: "late", limit: 10 })).toBe("3,1");
      expect(await ids({ which: "all", workflow_id: "flow", limit: 10 })).toBe("3,2,1");
      expect(await ids({ which: "dead", limit: 10 })).toBe("3,2,1");
      expect(await store.read((tx) => tx.getAlert("alert-2"))).toEqual(alert(2, { resolved_at_ms: 3000 }));
      expect(await store.read((tx) => tx.getAlert("alert-9"))).toBeNull();
      expect(await store.read((tx) => tx.findAlerts("alert-"))).toHaveLength(2);
      expect(await store.read((tx) => tx.findAlerts("alert-3"))).toEqual([alert(3)]);
      expect(await store.read((tx) => tx.findAlerts("alert_"))).toEqual([]);
      expect([...(await store.read((tx) => tx.countOpenAlerts()))]).toEqual([
        ["agent_lost", 1],
        ["late", 2],
      ]);
      expect((await store.read((tx) => tx.openAlertsOf("run-3"))).map(({ key }) => key)).toEqual([
        "late flow 3",
      ]);
    });

    given(
      "a message has what is not in one yet, is tried again as it was, and is sent once",
      async (state) => {
        const { store } = state;
        await store.transact(async (tx) => {
          await raised(tx, 2);
          await tx.addDelivery(delivery(1, "chat", { due_ms: 9000 }));
          // Twice: nothing more.
          await tx.addDelivery(delivery(1, "ops"));
        });
        expect([...(await store.read((tx) => tx.nextDeliveries())).due]).toEqual([
          ["chat", 9000],
          ["ops", 2000],
        ]);
        expect(await store.transact((tx) => tx.claimMessage("ops", 1999, 1999, "early", 10))).toBeNull();
        const first = await store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m1", 1));
        expect(first).toEqual({
          message_id: "m1",
          channel: "ops",
          attempt: 1,
          created_at_ms: 1001,
          alerts: [{ alert: alert(1), about: "raised" }],
          more: 1,
          error: null,
        });
        // Nothing else is due.
        expect(await store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m2", 10))).toBeNull();
        const failed = { state: "PENDING", error: "no route", due_ms: 3000 } as const;
        const name = { channel: "ops", message_id: "m1" };
        expect(await store.transact((tx) => tx.settleMessage(name, failed, 2100))).toBe(2);
        await store.transact(async (tx) => {
          await tx.raiseAlert(alert(3, { workflow_id: "other" }));
          await tx.addDelivery(delivery(3, "ops", { due_ms: 4000 }));
        });
        const again = await store.transact((tx) => tx.claimMessage("ops", 5000, 5000, "m2", 10));
        expect(again?.message_id).toBe("m1");
        expect(again?.attempt).toBe(2);
        expect(again?.error).toBe("no route");
        expect(again?.alerts.map(({ alert: { alert_id } }) => alert_id)).toEqual(["alert-1", "alert-2"]);
        // The same failure is in the history once.
        await store.transact((tx) => tx.settleMessage(name, { ...failed, due_ms: 6000 }, 5100));
        await store.transact((tx) => tx.claimMessage("ops", 7000, 7000, "m3", 10));
        expect(await store.transact((tx) => tx.settleMessage(name, { state: "SENT" }, 7100))).toBe(0);
        const third = { channel: "ops", message_id: "m3" };
        expect(await store.transact((tx) => tx.settleMessage(third, { state: "SENT" }, 7100))).toBe(1);
        expect(await store.transact((tx) => tx.settleMessage(third, { state: "SENT" }, 7100))).toBe(0);
        expect((await store.transact((tx) => tx.claimMessage("ops", 7200, 7200, "m5", 10)))?.message_id).toBe(
          "m1",
        );
        expect(await store.transact((tx) => tx.settleMessage(name, { state: "SENT" }, 7300))).toBe(2);
        expect(await store.read((tx) => tx.recentMessages(7099))).toEqual([
          { channel: "ops", sent_at_ms: 7100 },
          { channel: "ops", sent_at_ms: 7300 },
        ]);
        expect(await logged(store)).toEqual([
          "raised alert-1",
          "raised alert-2",
          "failed alert-1 ops no route",
          "failed alert-2 ops no route",
          "raised alert-3",
          "sent alert-3 ops",
          "sent alert-1 ops",
          "sent alert-2 ops",
        ]);
      },
    );

    given(
      "what was being sent when a principal was killed is sent again, in the same message",
      async (state) => {
        await state.store.transact((tx) => raised(tx, 2));
        await state.store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m1", 10));
        const store = await state.reopen();
        expect([...(await store.read((tx) => tx.nextDeliveries())).due]).toEqual([]);
        expect(await store.transact((tx) => tx.recoverSending(2500))).toBe(2);
        expect(await store.transact((tx) => tx.recoverSending(2500))).toBe(0);
        const again = await store.transact((tx) => tx.claimMessage("ops", 2500, 2500, "m2", 10));
        expect(again).toMatchObject({ message_id: "m1", attempt: 2, more: 0 });
      },
    );

    given(
      "what a message that failed tells about a workflow goes before anything newer about it",
      async ({ store }) => {
        await store.transact(async (tx) => {
          await tx.raiseAlert(alert(1, { kind: "failed" }));
          await tx.addDelivery(delivery(1, "ops"));
          await tx.addDelivery(delivery(1, "chat"));
        });
        await store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m1", 10));
        const failed = { state: "PENDING", error: "down", due_ms: 9000 } as const;
        await store.transact(async (tx) => {
          await tx.settleMessage({ channel: "ops", message_id: "m1" }, failed, 2100);
          await tx.raiseAlert(alert(2, { kind: "recovered" }));
          await tx.addDelivery(delivery(2, "ops"));
          await tx.addDelivery(delivery(2, "chat"));
          for (const n of [3, 4]) {
            await tx.raiseAlert(alert(n, { workflow_id: null }));
            await tx.addDelivery(delivery(n, "ops", { due_ms: 2500 }));
          }
        });
        const claim = (channel: string, id: string, most?: number) =>
          store.transact(async (tx) => {
            const message = await tx.claimMessage(channel, 3000, 3000, id, 10, most);
            return [message?.message_id, ...(message?.alerts ?? []).map(({ alert }) => alert.alert_id)];
          });
        // Nothing has failed there.
        expect(await claim("chat", "m2")).toEqual(["m2", "alert-1", "alert-2"]);
        expect(await claim("ops", "m3", 1)).toEqual(["m3", "alert-3"]);
        expect(await claim("ops", "m4", 1)).toEqual(["m4", "alert-4"]);
        // It is due later, but something that is due waits for it.
        expect(await claim("ops", "m5")).toEqual(["m1", "alert-1"]);
        const name = { channel: "ops", message_id: "m1" };
        await store.transact((tx) => tx.settleMessage(name, { state: "DEAD", error: "refused" }, 3100));
        expect(await claim("ops", "m6")).toEqual(["m6", "alert-2"]);
        expect(await claim("ops", "m7")).toEqual([undefined]);
      },
    );

    given("what was given up can be sent again, in another message", async ({ store }) => {
      await store.transact((tx) => raised(tx, 2));
      await store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m1", 10));
      const name = { channel: "ops", message_id: "m1" };
      await store.transact((tx) => tx.settleMessage(name, { state: "DEAD", error: "refused" }, 2100));
      expect(await store.read((tx) => tx.countDeliveries())).toEqual([
        { channel: "ops", pending: 0, dead: 2 },
      ]);
      expect(await store.transact((tx) => tx.retryDeliveries("alert-9", 3000))).toBe(0);
      expect(await store.transact((tx) => tx.retryDeliveries("alert-2", 3000))).toBe(1);
      expect(states(await store.read((tx) => tx.deliveriesOf(["alert-1", "alert-2"])))).toEqual([
        "alert-1 ops raised DEAD 1 refused",
        "alert-2 ops raised PENDING 0 refused",
      ]);
      expect(await store.transact((tx) => tx.retryDeliveries(null, 3000))).toBe(1);
      const again = await store.transact((tx) => tx.claimMessage("ops", 3000, 3000, "m2", 10));
      expect(again).toMatchObject({ message_id: "m2", attempt: 1 });
      expect(await store.read((tx) => tx.countDeliveries())).toEqual([
        { channel: "ops", pending: 2, dead: 0 },
      ]);
    });

    given(
      "what waits or was given up can be dismissed: of an alert, of a channel, of both",
      async ({ store }) => {
        await store.transact(async (tx) => {
          await raised(tx, 3);
          await raised(tx, 1, "gone");
          await tx.addDelivery(delivery(2, "gone"));
        });
        await store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m1", 10, 1));
        const refused = { state: "DEAD", error: "refused" } as const;
        await store.transact((tx) => tx.settleMessage({ channel: "ops", message_id: "m1" }, refused, 2100));
        await store.transact((tx) => tx.claimMessage("ops", 2200, 2200, "m2", 10, 1));
        const dismiss = (alertId: string | null, channel: string | null) =>
          store.transact((tx) => tx.dismissDeliveries({ alertId, channel }, 3000));
        expect(await dismiss("alert-1", "gone")).toEqual({ deliveries: 1, more: false });
        expect(await dismiss("alert-1", null)).toEqual({ deliveries: 1, more: false });
        // It is being sent.
        expect(await dismiss("alert-2", "ops")).toEqual({ deliveries: 0, more: false });
        expect(await dismiss(null, "gone")).toEqual({ deliveries: 1, more: false });
        expect(await dismiss(null, "gone")).toEqual({ deliveries: 0, more: false });
        expect(states(await store.read((tx) => tx.deliveriesOf(["alert-1", "alert-2", "alert-3"])))).toEqual([
          "alert-1 ops raised DISMISSED 1 refused",
          "alert-2 ops raised SENDING 1 -",
          "alert-3 ops raised PENDING 0 -",
          "alert-1 gone raised DISMISSED 0 -",
          "alert-2 gone raised DISMISSED 0 -",
        ]);
        expect(await store.transact((tx) => tx.retryDeliveries(null, 4000))).toBe(0);
        expect(await store.read((tx) => tx.nextDeliveries())).toEqual({
          due: new Map([["ops", expect.any(Number)]]),
          isSending: true,
        });
      },
    );

    given("a channel has when a message arrived last, and why its last attempt failed", async ({ store }) => {
      const states = () => store.read((tx) => tx.channelStates());
      expect(await states()).toEqual([]);
      await store.transact(async (tx) => {
        await raised(tx, 3, "chat");
        await tx.addDelivery(delivery(1, "ops"));
        await tx.addDelivery(delivery(2, "quiet", { due_ms: 9000 }));
        await tx.claimMessage("chat", 2000, 2000, "m1", 10, 1);
        await tx.settleMessage({ channel: "chat", message_id: "m1" }, { state: "SENT" }, 2100);
        await tx.claimMessage("ops", 2000, 2000, "m2", 10);
      });
      expect(await states()).toEqual([
        { channel: "chat", sent_at_ms: 2100, error: null },
        { channel: "ops", sent_at_ms: null, error: null },
      ]);
      await store.transact(async (tx) => {
        await tx.settleMessage({ channel: "ops", message_id: "m2" }, { state: "DEAD", error: "no" }, 2200);
        await tx.claimMessage("chat", 2000, 2200, "m3", 10, 1);
        const failed = { state: "PENDING", error: "down", due_ms: 9000 } as const;
        await tx.settleMessage({ channel: "chat", message_id: "m3" }, failed, 2300);
      });
      expect(await states()).toEqual([
        { channel: "chat", sent_at_ms: 2100, error: "down" },
        { channel: "ops", sent_at_ms: null, error: "no" },
      ]);
    });

    given("a channel that works again is given at once what has failed before", async ({ store }) => {
      await store.transact((tx) => raised(tx, 1));
      await store.transact((tx) => tx.claimMessage("ops", 2000, 2000, "m1", 10));
      const failed = { state: "PENDING", error: "down", due_ms: 900_000 } as const;
      await store.transact(async (tx) => {
        await tx.settleMessage({ channel: "ops", message_id: "m1" }, failed, 2100);
        await tx.raiseAlert(alert(2));
        await tx.addDelivery(delivery(2, "ops", { due_ms: 60_000 }));
        await tx.hurryChannel("ops", 3000);
      });
      expect(await store.transact((tx) => tx.claimMessage("ops", 3000, 3000, "m2", 10))).toMatchObject({
        message_id: "m1",
        alerts: [{ about: "raised" }],
      });
    });

    given("only legal transitions happen", async ({ store }) => {
      await store.transact((tx) => raised(tx, 1));
      const name = { channel: "ops", message_id: "m1" };
      const settled = store.transact((tx) => tx.settleMessage(name, { state: "SENDING" } as never, 2100));
      await expect(settled).rejects.toBeInstanceOf(IllegalTransitionError);
      // It is not being sent.
      expect(await store.transact((tx) => tx.settleMessage(name, { state: "SENT" }, 2100))).toBe(0);
    });

    given("failures in a row are counted, and a workflow that never failed has no row", async ({ store }) => {
      const count = (hasFailed: boolean, flow = "flow") =>
        store.transact((tx) => tx.countToldFailure(flow, hasFailed, 1000));
      expect(await count(false)).toEqual({ failures: 0, before: 0 });
      expect(await count(true)).toEqual({ failures: 1, before: 0 });
      expect(await count(true)).toEqual({ failures: 2, before: 1 });
      expect(await count(true, "other")).toEqual({ failures: 1, before: 0 });
      expect(await count(false)).toEqual({ failures: 0, before: 2 });
      expect(await count(false)).toEqual({ failures: 0, before: 0 });
    });

    given(
      "the failed tasks of a run are the last state of each that was not allowed to fail",
      async ({ store }) => {
        await store.transact(async (tx) => {
          await tx.createRun(pendingRun("run-1"), "{}", []);
          expect(await tx.failedTasksOf("run-1", 5)).toEqual([]);
        });
      },
    );

    given("are forgotten when they are over, told and old, or too many", async ({ store }) => {
      await store.transact(async (tx) => {
        await raised(tx, 4);
        for (const n of [1, 2, 3]) await tx.resolveAlert(`late flow ${n}`, 2000);
        await tx.claimMessage("ops", 2000, 2000, "m1", 10);
      });
      const forget = (beforeMs: number, keep: number) =>
        store.transact((tx) => tx.forgetAlerts(beforeMs, keep));
      const left = () =>
        store.read(async (tx) =>
          (await tx.listAlerts({ which: "all", limit: 10 })).map(({ alert_id }) => alert_id.slice(6)).join(),
        );
      // They are being sent.
      expect(await forget(9000, 100)).toBe(0);
      const name = { channel: "ops", message_id: "m1" };
      await store.transact((tx) => tx.settleMessage(name, { state: "SENT" }, 2100));
      expect(await forget(2000, 100)).toBe(0);
      expect(await forget(1000, 2)).toBe(2);
      expect(await left()).toBe("4,3");
      expect(await forget(9000, 100)).toBe(1);
      expect(await left()).toBe("4");
      expect(states(await store.read((tx) => tx.deliveriesOf(["alert-1"])))).toEqual([]);
    });
  });
}
