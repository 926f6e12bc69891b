/** The agents: labels, load, last heartbeat. */

import { shownLabels } from "../../contract/agent-labels.ts";
import type { AgentSummary, RunSummary } from "../../contract/messages.ts";
import { tookMs } from "../../contract/took.ts";
import { wrapWords } from "../../terminal/text.ts";
import { age, duration } from "../format.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { agentRows } from "../lists/other-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, GREEN, PLAIN, RED, type Style, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { drawPrincipals, principalsHeight } from "./principals.ts";
import { progressBar } from "./spark.ts";
import { drawTable } from "./table.ts";

const LOOK: Readonly<Record<AgentSummary["status"], readonly [symbol: string, style: Style]>> = {
  UP: ["✓", GREEN],
  DRAINING: ["◷", YELLOW],
  LOST: ["✗", RED | BOLD],
};

/** Rows for the labels and the runs of the selected agent. */
const LABEL_ROWS = 2;
const RUNS = 5;

export function drawAgents(region: Region, state: State): void {
  const list = state.lists.agents;
  const members = principalsHeight(state);
  const rows = region.height > 16 + members ? members : 0;
  const lower = region.height > 16 ? 1 + LABEL_ROWS + RUNS : 0;
  const bodyRows = region.height - lower - rows;
  const body = drawFilterLine(region.sub(0, 0, region.width, bodyRows), state, "agents", ["id"]);
  drawTable<AgentSummary>(body, {
    name: "agents",
    rows: agentRows(state, list),
    list,
    id: (agent) => agent.agent_id,
    empty:
      state.data.agents === null
        ? "Loading …"
        : (list?.filter ?? "") !== ""
          ? `No agent matches "${list?.filter}". Esc clears the filter.`
          : "No agent has registered.\n\nStart one on any host: cdktr start agent",
    columns: [
      { title: "AGENT", width: 12, grow: 2, cell: (agent) => [[agent.agent_id, PLAIN]] },
      {
        title: "STATUS",
        width: 10,
        cell: ({ status }) => [[`${LOOK[status][0]} ${status}`, LOOK[status][1]]],
      },
      {
        title: "WORKFLOWS",
        width: 16,
        cell: ({ running_workflows: running, max_concurrent_workflows: most }) => [
          ...progressBar(most === 0 ? 0 : running / most, 10, running >= most ? YELLOW : CYAN),
          [` ${running}/${most}`, DIM],
        ],
      },
      { title: "TASKS", width: 5, align: "right", cell: (agent) => [[String(agent.running_tasks), PLAIN]] },
      {
        title: "HEARD",
        width: 9,
        align: "right",
        cell: (agent) => {
          const silent = silentFor(agent, state);
          return [[`${age(silent)} ago`, agent.status === "LOST" ? RED : silent > 15_000 ? YELLOW : DIM]];
        },
      },
      { title: "LABELS", width: 6, grow: 2, cell: (agent) => labelSpans(shownLabels(agent)) },
      { title: "HOST", width: 6, grow: 1, from: 96, cell: (agent) => [[agent.host, DIM]] },
      {
        title: "VERSION",
        width: 8,
        from: 84,
        cell: ({ version }) => [[version, version === (state.data.info?.version ?? version) ? DIM : YELLOW]],
      },
    ],
  });
  if (lower > 0) drawSelected(region.sub(0, bodyRows, region.width, lower), state);
  if (rows > 0) drawPrincipals(region.sub(0, region.height - rows, region.width, rows), state);
}

/** How long nothing was heard of an agent, ms, by the principal's clock: that of this host may differ. */
function silentFor({ silent_ms, last_heartbeat_ms }: AgentSummary, { now, connection }: State): number {
  return silent_ms === undefined ? now - last_heartbeat_ms : silent_ms + now - (connection.lastDataMs ?? now);
}

function labelSpans(entries: readonly (readonly [name: string, value: string])[]): Span[] {
  if (entries.length === 0) return [["–", DIM]];
  return entries.flatMap(([key, value], i): Span[] => [
    [`${i === 0 ? "" : " "}${key}=`, DIM],
    [value, PLAIN],
  ]);
}

/** All labels and the current runs of the selected agent. */
function drawSelected(region: Region, state: State): void {
  region.rule(0);
  const id = selectedOf(state, "agents");
  const agent = state.data.agents?.find((one) => one.agent_id === id);
  if (id === null || agent === undefined) return;
  const labels = shownLabels(agent).map(([name, value]) => `${name}=${value}`);
  const lines = wrapWords(labels.join(" "), region.width - 2).slice(0, LABEL_ROWS);
  for (const [i, line] of lines.entries()) region.spans(1, i + 1, [[line, DIM]], region.width - 2);
  const ids = agent.run_ids;
  const isIts = (run: RunSummary) =>
    ids === undefined ? run.agent_id === id : ids.includes(run.workflow_instance_id);
  const runs = (state.data.runs ?? []).filter(
    (run) => (run.status === "RUNNING" || run.status === "WAITING") && isIts(run),
  );
  region.spans(1, 0, [[` ${id}: ${runs.length === 0 ? "no runs" : "current runs"} `, BOLD]]);
  runs.slice(0, RUNS).forEach((run, i) => {
    region.spans(1, lines.length + i + 1, runLine(run, state.now));
  });
  if (runs.length > RUNS) region.textRight(0, ` and ${runs.length - RUNS} more `, DIM, 1);
}

function runLine(run: RunSummary, now: number): Span[] {
  const tasks = run.tasks_total === undefined ? "" : `${run.tasks_done ?? 0}/${run.tasks_total} tasks`;
  return [
    ["▶ ", CYAN],
    [run.workflow_id, PLAIN],
    [`  ${duration(tookMs(run, now) ?? 0)}  ${tasks}  ${run.workflow_instance_id}`, DIM],
  ];
}
