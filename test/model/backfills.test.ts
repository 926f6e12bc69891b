/**
 * Backfills keep what they promise beside groups, pools, pauses and priorities, whatever happens. Faults that are planted are found.
 */
import { LONG } from "../support/long.ts";
import { FAULTS_OF_BACKFILLS } from "./faults.ts";
import { testPromises } from "./promises.ts";

testPromises({
  what: "backfills",
  parts: { groups: true, pools: true, pauses: true, priorities: true, backfills: true },
  seeds: LONG ? 3000 : 3,
  faults: FAULTS_OF_BACKFILLS,
  mostSeeds: 40,
});
