import { expect, test } from "bun:test";
import { historyMemory } from "../../src/host/history-memory.ts";

const MIB = 1024 * 1024;

test.each([512, 1024, 2048, 8192, 65_536])(
  "on a host with %d MiB, a read that fills the buffers ends nothing",
  (mib) => {
    const { database, queriesEnd, processEnds } = historyMemory(mib * MIB);
    expect(database).toBeLessThanOrEqual(mib * MIB * 0.25);
    expect(processEnds).toBeGreaterThanOrEqual(database + 300 * MIB);
    expect(queriesEnd).toBeGreaterThan(database);
    expect(processEnds).toBeLessThan(mib * MIB);
  },
);
