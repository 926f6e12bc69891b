import type { WorkflowResumed } from "../../contract/messages.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";
import { forEachWorkflow, workflowArgs, workflowExtras } from "./several.ts";

export default command({
  meta: { name: "resume", description: "End the pause of workflows" },
  args: { ...workflowArgs, ...jsonArg, ...principalArg },
  extras: {
    ...workflowExtras,
    details:
      "Runs that were held wait for agents again, in their order. Firings that were missed follow the catchup of the workflow: none, the latest, or all run now; events that were missed do the same.",
    topic: "pauses",
    examples: [
      { command: "cdktr workflow resume etl.daily", does: "it goes on" },
      { command: "cdktr workflow resume etl.daily etl.hourly --json", does: "two, for a program" },
    ],
  },
  async run({ args }) {
    const done = await withPrincipal(args, ({ client, patiently }) =>
      forEachWorkflow(args, async (workflow_id) => {
        // Thousands of runs may go on.
        const resumed = await patiently((options) => client.resumeWorkflow({ workflow_id }, options));
        if (!args.json) say(told(resumed));
        return resumed;
      }),
    );
    if (args.json) await printJson(done);
  },
});

/** What follows from the end of the pause. */
function told({ workflow_id: id, was_paused, held_runs, event_runs, firings }: WorkflowResumed): string {
  if (!was_paused) return `${id} is not paused.`;
  const parts: string[] = [];
  if (firings !== undefined && firings.missed > 0) parts.push(firingsText(firings));
  if (event_runs > 0)
    parts.push(event_runs === 1 ? "1 missed event is a run now" : `${event_runs} missed events are runs now`);
  if (held_runs > 0) parts.push(held_runs === 1 ? "1 held run goes on" : `${held_runs} held runs go on`);
  return `${id} goes on${parts.length === 0 ? "." : `: ${parts.join(", ")}.`}`;
}

/** No more missed firings of a schedule are counted. */
const MANY = 100;

function firingsText({ missed, run, catchup }: NonNullable<WorkflowResumed["firings"]>): string {
  const all =
    missed === 1 ? "1 missed firing" : `${missed}${missed >= MANY ? " or more" : ""} missed firings`;
  const why = catchup === undefined ? "" : ` (catchup: ${catchup})`;
  const verb = run === 1 ? "runs" : "run";
  if (run === 0) return `${all} ${missed === 1 ? "is" : "are"} dropped${why}`;
  return run === missed ? `${all} ${verb}${why}` : `${run} of ${all} ${verb}${why}`;
}
