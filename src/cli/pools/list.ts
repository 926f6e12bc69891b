import type { PoolSummary } from "../../contract/messages.ts";
import { NotFoundError } from "../../errors.ts";
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatDuration, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the pools and who has their slots" },
  args: {
    name: { type: "positional", required: false, description: "Only this pool" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "USED: slots that are taken, and how many there are; more than that while a pool that was made smaller drains. WAITING: tasks that wait for slots of it, each item of a fan-out by itself. SOURCE: a command, which wins, or _cdktr.yml in the workflow directory. A pool that tasks ask for and nobody made is listed, too. Below each pool stands who has slots of it.",
    completes: { name: "pool" },
    see: ["runs queue", "runs why"],
    examples: [
      { command: "cdktr pools list", does: "all pools" },
      { command: "cdktr pools list warehouse", does: "who has slots of one" },
      {
        command: "cdktr pools list --json | jq '.[] | select(.used == .size) | .name'",
        does: "those that are full, for a program",
      },
    ],
  },
  async run({ args }) {
    const all = await withPrincipal(args, ({ client }) => client.pools());
    const pools = args.name === undefined ? all : all.filter(({ name }) => name === args.name);
    if (args.name !== undefined && pools.length === 0) throw unknownPool(args.name, all);
    if (args.json) return printJson(pools);
    if (pools.length === 0)
      return say("No pools. Make one with 'cdktr pools set NAME N', or with pools: in _cdktr.yml.");
    for (const line of poolTable(pools)) await printLine(line);
    for (const line of pools.flatMap((pool) => holderLines(pool, principalNow()))) await printLine(line);
  },
});

/** The error for a pool that is not there. */
export function unknownPool(name: string, pools: readonly PoolSummary[]): NotFoundError {
  const near = didYouMean(
    name,
    pools.map((pool) => pool.name),
  );
  return new NotFoundError(`There is no pool ${name}.`, {
    hint:
      near === undefined
        ? "'cdktr pools list' shows the pools."
        : `${near[0]?.toUpperCase()}${near.slice(1)}`,
  });
}

function poolTable(pools: readonly PoolSummary[]): string[] {
  const style = styleFor("stdout");
  return renderTable<PoolSummary>(
    [
      { title: "POOL", value: ({ name }) => name, flexible: true, least: 12 },
      {
        title: "USED",
        value: ({ used, size }) => `${used}/${size ?? "-"}`,
        align: "right",
        paint: ({ used, size }) =>
          size === null || used > size ? style.red : used === size ? style.yellow : (text) => text,
      },
      { title: "WAITING", value: ({ waiting }) => String(waiting), align: "right" },
      { title: "SOURCE", value: sourceOf },
    ],
    pools,
  );
}

function sourceOf({ source, file_size, changed_by }: PoolSummary): string {
  if (source === null) return "nobody made it";
  if (source === "file") return "_cdktr.yml";
  const by = changed_by === null ? "command" : `command of ${changed_by}`;
  return file_size === null ? by : `${by} (_cdktr.yml says ${file_size})`;
}

/** Who has slots of a pool. */
function holderLines({ name, holders, used }: PoolSummary, now: number): string[] {
  const lines = holders.map(({ workflow_id, workflow_instance_id, task_id, slots, agent_id, since_ms }) => {
    const since = formatDuration(Math.max(0, now - since_ms));
    return `${name}: ${plural(slots, "slot")} · ${task_id} of ${workflow_id}, run ${workflow_instance_id.slice(0, 13)}, on ${agent_id} for ${since}`;
  });
  const shown = holders.reduce((sum, { slots }) => sum + slots, 0);
  return used > shown ? [...lines, `${name}: ${plural(used - shown, "more slot")} in use`] : lines;
}
