import { LONGEST_PAUSE_MS, type WorkflowPaused } from "../../contract/messages.ts";
import { pausedText } from "../../contract/pauses.ts";
import { UsageError } from "../../errors.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatInstant } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";
import { comingOption, spanOption } from "../support/time.ts";
import { forEachWorkflow, workflowArgs, workflowExtras } from "./several.ts";

export default command({
  meta: { name: "pause", description: "Pause workflows: no firings, no events, no new runs" },
  args: {
    ...workflowArgs,
    reason: { type: "string", valueHint: "TEXT", description: "Why, for everybody who asks" },
    until: {
      type: "string",
      valueHint: "TIME",
      description: "Resume it then: 06:00, 'tomorrow 06:00', '2025-01-20 06:00' (local time), or RFC 3339",
    },
    for: { type: "string", valueHint: "D", description: "Resume it after this time, such as 30m or 2d" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    ...workflowExtras,
    details: `Schedules and events of a paused workflow make no runs. What they miss follows its catchup when it is resumed. Runs that people ask for, retries, runs that other workflows start, and runs that wait for an agent are held until then. A run that has begun goes on, also on another agent.

      A workflow that is paused already gets another end: without --until and --for, none. Its reason stays unless another one is given.`,
    see: ["runs why"],
    topic: "pauses",
    examples: [
      {
        command: "cdktr workflow pause etl.daily --reason 'database migration'",
        does: "until somebody resumes it",
      },
      {
        command: "cdktr workflow pause etl.daily etl.hourly --until 'tomorrow 06:00'",
        does: "two, overnight",
      },
      { command: "cdktr workflow pause etl.daily --for 2h", does: "it goes on by itself" },
    ],
  },
  async run({ args }) {
    if (args.until !== undefined && args.for !== undefined)
      throw new UsageError("--until and --for exclude each other.", { hint: "Give the one that is meant." });
    const span = spanOption(args.for, "--for", LONGEST_PAUSE_MS);
    const until_ms = comingOption(args.until, "--until", principalNow(), resumeHint);
    const end =
      span !== undefined ? { for_ms: Math.round(span) } : until_ms === undefined ? {} : { until_ms };
    const reason = args.reason === undefined ? {} : { reason: args.reason };
    const done = await withPrincipal(args, ({ client, patiently }) =>
      forEachWorkflow(args, async (workflow_id) => {
        const pause = { workflow_id, ...reason, ...end };
        // Thousands of runs may be held.
        const paused = await patiently((options) => client.pauseWorkflow(pause, options));
        if (!args.json) say(told(paused));
        return paused;
      }),
    );
    if (args.json) await printJson(done);
  },
});

const resumeHint = "To end a pause: cdktr workflow resume ID";

/** What follows from the pause. */
function told({
  workflow_id: id,
  paused,
  was_paused,
  held_runs: held,
  begun_runs: begun,
}: WorkflowPaused): string {
  const until = paused.until_ms === null ? "" : ` until ${formatInstant(paused.until_ms)}`;
  const first = was_paused
    ? `${id} was paused already; now it is ${plainText(pausedText(paused, formatInstant))}.`
    : `${id} is paused${until}.`;
  const isHeld = held === 1 ? "1 run is held" : `${held} runs are held`;
  const goesOn = begun === 1 ? "1 goes on" : `${begun} go on`;
  if (held > 0) return begun > 0 ? `${first} ${isHeld}, ${goesOn}.` : `${first} ${isHeld}.`;
  return begun > 0 ? `${first} ${begun === 1 ? "1 run goes on" : `${begun} runs go on`}.` : first;
}
