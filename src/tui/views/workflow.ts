/** A workflow: overview, graph, source, runs. */

import { printable } from "../../terminal/foreign-text.ts";
import { fit } from "../../terminal/text.ts";
import { highlightYaml } from "../highlight-yaml.ts";
import { selectedOf } from "../lists/list-ids.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, DIM, RED } from "../screen/style.ts";
import { type Page, type State, WORKFLOW_PANES } from "../state.ts";
import { drawTaskGraph } from "./graph.ts";
import { drawLines } from "./lines.ts";
import { drawPanes, panesWidth } from "./panes.ts";
import { drawRunTable } from "./run-list.ts";
import { drawOverview } from "./workflow-overview.ts";

export function drawWorkflow(region: Region, state: State, page: Extract<Page, { kind: "workflow" }>): void {
  const x = region.text(1, 0, fit(page.id, region.width - panesWidth(WORKFLOW_PANES) - 5), BOLD) + 3;
  drawPanes(region, WORKFLOW_PANES, page.pane, x);
  const body = region.sub(1, 2, region.width - 1, region.height - 2);
  const details = state.data.workflowDetails.get(page.id);
  const problem = state.data.detailErrors.get(`workflow ${page.id}`);
  const waiting: Span = problem === undefined ? ["Loading …", DIM] : [problem, RED];
  switch (page.pane) {
    case "overview":
      drawOverview(body, state, page.id);
      break;
    case "graph": {
      if (details === undefined) body.spans(0, 0, [waiting]);
      else {
        const name = `graph:${page.id}`;
        drawTaskGraph(body, details.definition, null, name, state.lists[name], selectedOf(state, name));
      }
      break;
    }
    case "source": {
      const name = `workflow:${page.id}:source`;
      if (details === undefined) body.spans(0, 0, [waiting]);
      else drawLines(body, sourceLines(details.source), state.scroll[name] ?? 0, name);
      break;
    }
    case "runs":
      drawRunTable(region.sub(0, 1, region.width, region.height - 1), state, `runs:${page.id}`, page.id);
      break;
  }
}

let kept: { source: string; lines: Span[][] } | undefined;

function sourceLines(source: string): Span[][] {
  if (kept?.source !== source) {
    const text = source.replace(/\n$/, "").split("\n");
    const digits = String(text.length).length;
    kept = {
      source,
      lines: text.map((line, i) => [
        [`${String(i + 1).padStart(digits)} `, DIM],
        ...highlightYaml(printable(line)),
      ]),
    };
  }
  return kept.lines;
}
