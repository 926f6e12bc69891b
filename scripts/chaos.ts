/**
 * `npm run chaos -- --minutes N --seed S [--rate R] [--hostile] [--no-language] [--no-limits] [--only history] [--members N]`: kills, stops and cuts off a principal with its history
 * and three agents under load, of workflows that use the whole language unless `--no-language` says otherwise, with pools, concurrency groups, pauses and a backfill unless `--no-limits` does, with `--hostile` under attack as well, with `--only` by no other faults than those whose names begin so, then counts what was lost or done twice. With `--members`, so many principals over PostgreSQL with a standby, and five agents, each on a host of its own, which are also cut from each other. Exit status 1, the seed and a timeline when anything was.
 */
import { parseArgs } from "node:util";
import type { ChaosResult } from "../test/chaos/chaos.ts";
import { BINARY } from "./support/paths.ts";

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    minutes: { type: "string", default: "2" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    rate: { type: "string", default: "4" },
    hostile: { type: "boolean", default: false },
    "no-language": { type: "boolean", default: false },
    "no-limits": { type: "boolean", default: false },
    only: { type: "string", default: "" },
    members: { type: "string" },
  },
});
process.env.CDKTR_TEST_BINARY ??= BINARY;
const common = {
  minutes: Number(values.minutes),
  seed: Number(values.seed),
  runsPerSecond: Number(values.rate),
  language: !values["no-language"],
  limits: !values["no-limits"],
  only: values.only,
};

async function storm(): Promise<ChaosResult> {
  if (values.members === undefined) {
    const { chaos } = await import("../test/chaos/chaos.ts");
    return chaos({ ...common, hostile: values.hostile, say: (line) => console.error(line) });
  }
  const { memberStorm } = await import("../test/chaos/members/run-storm.ts");
  return memberStorm({ ...common, members: Number(values.members) }, (text) => process.stderr.write(text));
}

const result = await storm();
console.log(`chaos: ${values.minutes} minutes, seed ${values.seed}`);
for (const [name, count] of Object.entries({ ...result.faults, ...result.counts })) {
  console.log(`  ${String(count).padStart(8)}  ${name}`);
}
console.log(`  ${String(result.violations.length).padStart(8)}  violations`);
for (const violation of result.violations.slice(0, 50)) console.log(`  ! ${violation}`);
if (result.violations.length > 0) {
  console.log(
    `Everything is kept in ${result.directory}. Again: npm run chaos -- --minutes ${values.minutes} --seed ${values.seed}${values.hostile ? " --hostile" : ""}${values.members === undefined ? "" : ` --members ${values.members}`}`,
  );
  process.exit(1);
}
