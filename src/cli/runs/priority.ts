import { UsageError } from "../../errors.ts";
import { DEFAULT_PRIORITY, HIGHEST_PRIORITY } from "../../workflow/limits.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { runJson } from "../support/run-report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "priority", description: "Change the priority of a run" },
  args: {
    ...runArg,
    priority: {
      type: "positional",
      required: true,
      description: `0 to ${HIGHEST_PRIORITY}, which goes first; ${DEFAULT_PRIORITY} is the default`,
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { run: "run" },
    details:
      "Counts for what waits of the run, and for what will wait of it. What runs already goes on. Ten minutes of waiting weigh as much as one step, so nothing waits for ever behind higher priorities.",
    see: ["runs queue", "runs why"],
    topic: "pools",
    examples: [
      { command: "cdktr runs priority 0198c2a4 9", does: "before all others" },
      { command: "cdktr runs priority 0198c2a4 0", does: "when there is nothing else to do" },
    ],
  },
  async run({ args }) {
    const priority = Number(args.priority);
    if (!/^\d$/.test(args.priority))
      throw new UsageError(
        `'${args.priority}' is not a priority: expected a whole number from 0 to ${HIGHEST_PRIORITY}.`,
        { hint: `${HIGHEST_PRIORITY} goes first, ${DEFAULT_PRIORITY} is the default.` },
      );
    const run = await withPrincipal(args, async (connection) => {
      const found = await findRun(connection, args.run);
      return connection.client.setPriority(found.workflow_instance_id, priority);
    });
    if (args.json) return printJson(runJson(run));
    say(`Run ${run.workflow_instance_id} of ${run.workflow_id} has priority ${priority}.`);
  },
});
