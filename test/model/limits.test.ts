/**
 * Concurrency groups, pools, pauses and priorities keep what they promise, whatever happens: no limit is exceeded, no slot leaks, and
 * everything that can run runs. Faults that are planted are found.
 */
import { LONG } from "../support/long.ts";
import { FAULTS } from "./faults.ts";
import { testPromises } from "./promises.ts";

testPromises({
  what: "groups, pools, pauses and priorities",
  parts: { groups: true, pools: true, pauses: true, priorities: true, backfills: false },
  seeds: LONG ? 10_000 : 12,
  faults: FAULTS,
  mostSeeds: 50,
});
