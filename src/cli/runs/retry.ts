import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { followArgs, followExit, watchRun } from "../support/watch-run.ts";

export default command({
  meta: { name: "retry", description: "Retry the failed tasks of a run, or all of them" },
  args: {
    ...runArg,
    "from-start": { type: "boolean", description: "Run every task, including those that completed" },
    ...followArgs,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    exit: followExit,
    completes: { run: "run" },
    details:
      "Starts a new run with the definition and the parameters of the old one. Completed tasks are not run again unless --from-start is given.",
    examples: [
      { command: "cdktr runs retry 0198c2a4", does: "go on from the failed tasks" },
      {
        command: "cdktr runs retry 0198c2a4 --from-start --follow",
        does: "run everything again and watch it",
      },
    ],
  },
  run: ({ args }) =>
    withPrincipal(args, async (connection) => {
      const old = await findRun(connection, args.run);
      return watchRun(connection, {
        workflowId: old.workflow_id,
        options: args,
        trigger: async () => {
          const created = await connection.client.retryRun({
            workflow_instance_id: old.workflow_instance_id,
            from_start: args["from-start"] ?? false,
            dedupe_key: crypto.randomUUID(),
          });
          return created.workflow_instance_id;
        },
      });
    }),
});
