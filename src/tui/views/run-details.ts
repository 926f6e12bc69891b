/** The remaining details of a run: ids, parameters, attempts. */

import type { RunDetails } from "../../contract/messages.ts";
import { agentsOf, isSplit } from "../../contract/run-agents.ts";
import { presentError, waitGroups } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { wrapWords } from "../../terminal/text.ts";
import { dateTime, duration } from "../format.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, RED, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { statusSpans } from "../status-look.ts";
import { drawLines } from "./lines.ts";

export function drawRunDetails(region: Region, run: RunDetails, state: State): void {
  const name = `run:${run.workflow_instance_id}:details`;
  drawLines(region, lines(run, state.now, region.width - 2), state.scroll[name] ?? 0, name);
}

function heldBy({ hold, group, workflow_id }: RunDetails): string | null {
  if (hold === undefined) return null;
  return hold === "pause" ? `the pause of ${workflow_id}` : `its group ${group ?? ""}`;
}

function lines(run: RunDetails, now: number, columns: number): Span[][] {
  const fact = (title: string, value: string | null): Span[][] =>
    value === null
      ? []
      : [
          [
            [title.padEnd(12), DIM],
            [value, PLAIN],
          ],
        ];
  const agents = agentsOf(run);
  const time = (ms: number | null) => (ms === null ? null : dateTime(ms));
  const result: Span[][] = [
    ...fact("Run", run.workflow_instance_id),
    ...fact("Workflow", `${run.workflow_id} (${run.workflow_name})`),
    ...fact("Trigger", run.trigger),
    ...fact(
      "Started by",
      run.parent === undefined ? null : `${run.parent.task_id} of ${run.parent.workflow_instance_id}`,
    ),
    ...fact("Retry of", run.retry_of),
    ...fact("Backfill", run.backfill_id ?? null),
    ...fact("Group", run.group ?? null),
    ...fact("Held by", heldBy(run)),
    ...fact("Priority", run.priority === undefined ? null : String(run.priority)),
    ...fact(agents.length > 1 ? "Agents" : "Agent", agents.length === 0 ? null : agents.join(", ")),
    ...fact("Scheduled", time(run.scheduled_time_ms)),
    ...fact("Created", time(run.created_at_ms)),
    ...fact("Starts", time(run.start_at_ms ?? null)),
    ...fact("Started", time(run.started_at_ms)),
    ...fact("Finished", time(run.finished_at_ms)),
  ];
  if (run.started_at_ms !== null) {
    result.push(...fact("Waited", duration(run.started_at_ms - run.created_at_ms)));
    result.push(...fact("Took", duration(tookMs(run, now) ?? 0)));
  }
  const error = presentError(run);
  if (error !== null) {
    result.push([]);
    for (const line of wrapWords(error, columns)) result.push([[line, RED]]);
  }
  for (const { subject, isPlural, waitsFor, reason, hint, since_ms } of waitGroups(run)) {
    const has = isPlural ? "have" : "has";
    const text = `${subject} ${has} waited for ${waitsFor} for ${duration(now - since_ms)}: ${reason}.`;
    result.push([]);
    for (const line of wrapWords(text, columns)) result.push([[line, YELLOW]]);
    for (const line of wrapWords(hint ?? "", columns)) result.push([[line, DIM]]);
  }
  const params = Object.entries(run.params);
  if (params.length > 0) {
    result.push([], [["Parameters", BOLD]]);
    for (const [name, value] of params)
      result.push([
        [`  ${name}`, CYAN],
        [` = ${JSON.stringify(value)}`, PLAIN],
      ]);
  }
  const outputs = Object.entries(run.outputs ?? {});
  if (outputs.length > 0) {
    result.push([], [["Outputs", BOLD]]);
    for (const [name, value] of outputs)
      result.push([
        [`  ${name}`, CYAN],
        [` = ${JSON.stringify(value)}`, PLAIN],
      ]);
  }
  result.push([], [["Attempts", BOLD]]);
  const split = isSplit(run);
  for (const attempt of run.attempts) {
    const began = attempt.started_at_ms === null ? "not started" : dateTime(attempt.started_at_ms);
    result.push([
      [split ? `  slice ${attempt.slice}, attempt ${attempt.attempt}  ` : `  ${attempt.attempt}  `, PLAIN],
      ...statusSpans(attempt.status).map(([text, style]): Span => [text.padEnd(13), style]),
      [`${began}  ${attempt.agent_id ?? ""}`, DIM],
    ]);
    if (attempt.error !== null) {
      for (const line of wrapWords(attempt.error, columns - 5)) result.push([[`     ${line}`, RED]]);
    }
  }
  return result;
}
