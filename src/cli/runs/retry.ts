import type { PrincipalInfo } from "../../contract/messages.ts";
import { LANGUAGE_SINCE } from "../../contract/version.ts";
import { UnprocessableError, UsageError } from "../../errors.ts";
import { command, keyValues, repeated } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { followArgs, followExit, watchRun } from "../support/watch-run.ts";

export default command({
  meta: { name: "retry", description: "Retry the failed tasks of a run, chosen ones, or all of them" },
  args: {
    ...runArg,
    task: {
      type: "string",
      valueHint: "ID",
      description: "Run this task again, or this item of a fan-out, and all that depends on it",
    },
    "from-start": { type: "boolean", description: "Run every task, including those that completed" },
    "current-definition": {
      type: "boolean",
      description: "Use the workflow as it is now instead of as it was then",
    },
    param: { type: "string", alias: "P", valueHint: "K=V", description: "Another value of a parameter" },
    ...followArgs,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    exit: followExit,
    completes: { run: "run" },
    repeatable: ["task", "param"],
    topic: "workflows",
    details: `Starts a new run with the definition and the parameters of the old one. Completed tasks are not run again, unless what they depend on is, or --from-start is given.

      With --task only the chosen tasks run, and what depends on them; of the others, those that completed are
      kept, and those that did not are SKIPPED. A fan-out that is chosen runs all its items again, an item
      load[KEY] only that one and those that did not complete. A task whose dependencies did not complete
      cannot be chosen alone.

      With -P tasks that are kept have still read the former values: which these are is said. An approval is
      asked for again, though, before anything runs that depends on it.`,
    examples: [
      { command: "cdktr runs retry 0198c2a4", does: "go on from the failed tasks" },
      {
        command: "cdktr runs retry 0198c2a4 --task transform --task 'load[orders]'",
        does: "run these again, and what follows them",
      },
      {
        command: "cdktr runs retry 0198c2a4 --current-definition",
        does: "go on from the failed tasks with the file as it is now",
      },
      {
        command: "cdktr runs retry 0198c2a4 --from-start -P region=us --follow",
        does: "run everything again with another parameter and watch it",
      },
    ],
  },
  run({ args, rawArgs }) {
    const tasks = repeated(rawArgs, "task");
    const params = keyValues(repeated(rawArgs, "param"), "-P");
    const given = {
      ...(tasks.length === 0 ? {} : { tasks }),
      ...(args["current-definition"] === true ? { current_definition: true } : {}),
      ...(Object.keys(params).length === 0 ? {} : { params }),
    };
    if (tasks.length > 0 && args["from-start"] === true)
      throw new UsageError("--task and --from-start exclude each other.", {
        hint: "From the start all tasks run again.",
      });
    return withPrincipal(args, async (connection) => {
      requireKnown(connection.info, given);
      const old = await findRun(connection, args.run);
      return watchRun(connection, {
        workflowId: old.workflow_id,
        options: args,
        trigger: async () => {
          const created = await connection.client.retryRun({
            workflow_instance_id: old.workflow_instance_id,
            from_start: args["from-start"] ?? false,
            ...given,
            dedupe_key: crypto.randomUUID(),
          });
          for (const note of created.notes ?? []) say(`note: ${note}`);
          return created.workflow_instance_id;
        },
      });
    });
  },
});

const OPTIONS = { tasks: "--task", current_definition: "--current-definition", params: "-P" } as const;

/** An older principal would pass over these options. @throws UnprocessableError */
function requireKnown(
  { protocol, version }: PrincipalInfo,
  given: { readonly [K in keyof typeof OPTIONS]?: unknown },
): void {
  const options = Object.entries(OPTIONS).flatMap(([key, option]) =>
    Object.hasOwn(given, key) ? [option] : [],
  );
  if (options.length === 0 || protocol.version >= LANGUAGE_SINCE) return;
  throw new UnprocessableError(
    `The principal (cdktr ${version}) is too old for ${options.join(" and ")} of retries: it would run the failed tasks as they were.`,
    { hint: "Upgrade it: cdktr docs operations" },
  );
}
