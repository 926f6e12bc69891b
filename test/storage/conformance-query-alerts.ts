/** Tests of the evaluations of alert files that every implementation of the operational store must pass. */
import { describe, expect, test } from "bun:test";
import type { QueryAlertRecord } from "../../src/storage/operational/query-alerts.ts";
import type { StoreUnderTest } from "./conformance.ts";

const record = (file: string, over: Partial<QueryAlertRecord> = {}): QueryAlertRecord => ({
  file,
  evaluated_at_ms: 1000,
  next_ms: 2000,
  error: null,
  rows: 2,
  failures: 0,
  ...over,
});

export function describeQueryAlerts(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name}: evaluations of alert files`, () => {
    test("are kept with their rows, also by the next process, until the file is forgotten", async () => {
      await using state = await open();
      await state.store.transact(async (tx) => {
        await tx.putQueryAlert(record("b.yml"));
        await tx.putQueryAlert(record("a.yml", { evaluated_at_ms: null, error: "no", failures: 3 }));
        await tx.putQueryRow("b.yml", { key: "z", since_ms: 1, is_raised: false });
        await tx.putQueryRow("b.yml", { key: "y", since_ms: 2, is_raised: true });
        await tx.putQueryRow("a.yml", { key: "z", since_ms: 3, is_raised: true });
      });
      await state.store.transact(async (tx) => {
        await tx.putQueryAlert(record("b.yml", { next_ms: 3000, rows: 3 }));
        await tx.putQueryRow("b.yml", { key: "z", since_ms: 1, is_raised: true });
        await tx.removeQueryRow("b.yml", "none");
      });
      const store = await state.reopen();
      expect(await store.read((tx) => tx.listQueryAlerts())).toEqual([
        record("a.yml", { evaluated_at_ms: null, error: "no", failures: 3 }),
        record("b.yml", { next_ms: 3000, rows: 3 }),
      ]);
      expect(await store.read((tx) => tx.listQueryRows("b.yml"))).toEqual([
        { key: "y", since_ms: 2, is_raised: true },
        { key: "z", since_ms: 1, is_raised: true },
      ]);
      await store.transact((tx) => tx.removeQueryRow("b.yml", "y"));
      await store.transact((tx) => tx.putQueryRow("b.yml", { key: "x", since_ms: 4, is_raised: false }));
      expect([...(await store.read((tx) => tx.countQueryRows()))]).toEqual([
        ["a.yml", { raised: 1, pending: 0 }],
        ["b.yml", { raised: 1, pending: 1 }],
      ]);
      await store.transact((tx) => tx.removeQueryAlert("b.yml"));
      expect(await store.read((tx) => tx.listQueryRows("b.yml"))).toEqual([]);
      expect((await store.read((tx) => tx.listQueryAlerts())).map(({ file }) => file)).toEqual(["a.yml"]);
      expect(await store.read((tx) => tx.listQueryRows("a.yml"))).toHaveLength(1);
    });
  });
}
