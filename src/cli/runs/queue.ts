import type { Queue } from "../../contract/messages.ts";
import { command, wholeNumber } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatDuration, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "queue", description: "Show what waits for agents and pools, in order" },
  args: {
    limit: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "20",
      description: "Maximum number of entries",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "Whoever stands first goes first, as soon as an agent and slots of its pools are free; what lacks them is passed over. An entry is a run, or a part of one that is split over agents. PRIO: its priority, which waiting raises. Runs that are not in the queue, because their concurrency group is full or their workflow is paused, stand below.",
    see: ["runs why", "runs priority", "pools list"],
    topic: "pools",
    examples: [
      { command: "cdktr runs queue", does: "the next 20" },
      { command: "cdktr runs queue -n 1000 --json", does: "more of it, for a program" },
    ],
  },
  async run({ args }) {
    const limit = wholeNumber(args.limit, "--limit", { min: 1, max: 1000 }) ?? 20;
    const queue = await withPrincipal(args, ({ client }) => client.queue(limit));
    if (args.json) return printJson(queue);
    const { entries, queued, held } = queue;
    if (entries.length === 0 && held.length === 0) return say("Nothing waits.");
    const now = principalNow();
    if (entries.length > 0) for (const line of entryTable(entries, now)) await printLine(line);
    const more = queued - entries.length;
    if (more > 0) say(`${plural(more, "more entry", "more entries")}: cdktr runs queue -n ${limit * 5}`);
    if (held.length > 0) {
      if (entries.length > 0) await printLine("");
      for (const line of heldTable(held, now)) await printLine(line);
    }
  },
});

/** Tasks that are named. */
const NAMED = 3;

/** Entries of a run that follow each other and wait for the same. */
type Row = Queue["entries"][number] & { readonly first: number; readonly last: number };

/** Items of a fan-out would fill the screen. */
function folded(entries: Queue["entries"]): Row[] {
  const rows: Row[] = [];
  for (const [index, entry] of entries.entries()) {
    const before = rows.at(-1);
    const isAlike =
      before !== undefined &&
      before.workflow_instance_id === entry.workflow_instance_id &&
      before.reason === entry.reason;
    if (isAlike)
      rows[rows.length - 1] = { ...before, tasks: [...before.tasks, ...entry.tasks], last: index + 1 };
    else rows.push({ ...entry, first: index + 1, last: index + 1 });
  }
  return rows;
}

function entryTable(entries: Queue["entries"], now: number): string[] {
  return renderTable<Row>(
    [
      {
        title: "#",
        value: ({ first, last }) => (first === last ? String(first) : `${first}-${last}`),
        align: "right",
      },
      ...columns(now),
      {
        title: "TASKS",
        value: ({ slice, tasks }) => {
          if (slice === 0) return "all";
          const more = tasks.length - NAMED;
          return `${tasks.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
        },
        flexible: true,
      },
      { title: "WAITS", value: ({ reason }) => reason, below: true },
    ],
    folded(entries),
  );
}

function heldTable(held: Queue["held"], now: number): string[] {
  return renderTable<Queue["held"][number]>(
    [...columns(now), { title: "NOT IN THE QUEUE", value: ({ reason }) => reason, below: true }],
    held,
  );
}

type Entry = Pick<Queue["entries"][number], "workflow_id" | "workflow_instance_id" | "priority" | "since_ms">;

function columns(now: number) {
  return [
    {
      title: "RUN",
      value: (entry: Entry) => entry.workflow_instance_id,
      short: (entry: Entry) => entry.workflow_instance_id.slice(0, 13),
    },
    { title: "WORKFLOW", value: (entry: Entry) => entry.workflow_id, flexible: true },
    { title: "PRIO", value: (entry: Entry) => String(entry.priority), align: "right" as const },
    {
      title: "SINCE",
      value: (entry: Entry) => formatDuration(Math.max(0, now - entry.since_ms)),
      align: "right" as const,
    },
  ];
}
