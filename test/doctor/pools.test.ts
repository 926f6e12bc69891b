import { expect, test } from "bun:test";
import { judgePools } from "../../src/doctor/pool-checks.ts";

test("pools that tasks wait for in vain are told, with what to do", () => {
  const findings = judgePools([
    { name: "warehous", size: null, waiting: 1 },
    { name: "closed", size: 0, waiting: 3 },
    { name: "full", size: 2, waiting: 9 },
    { name: "idle", size: 0, waiting: 0 },
  ]);
  expect(findings).toMatchObject([
    { message: "There is no pool warehous, and 1 task waits for it." },
    { message: "Pool closed has no slots, and 3 tasks wait for it." },
  ]);
});
