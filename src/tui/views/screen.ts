/** The whole screen: header, tabs, page, footer, and overlays. */
import { currentPage } from "../navigation.ts";
import { Canvas, type Region } from "../screen/canvas.ts";
import { DIM } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawActivity } from "./activity.ts";
import { drawAgents } from "./agents.ts";
import { drawAlerts } from "./alerts.ts";
import { drawApprovals } from "./approvals.ts";
import { drawCalendar } from "./calendar.ts";
import { drawFooter, drawHeader, drawLost, drawTabs, drawToasts, drawTooSmall } from "./chrome.ts";
import { drawLog } from "./log.ts";
import { drawOverlay } from "./overlay.ts";
import { drawQueue } from "./queue.ts";
import { drawRun } from "./run.ts";
import { drawRunTable } from "./run-list.ts";
import { drawWorkflow } from "./workflow.ts";
import { drawWorkflows } from "./workflow-list.ts";

/** Minimum size below which nothing is readable. */
const LEAST_WIDTH = 40;
const LEAST_HEIGHT = 10;

/** Draws a state; the same state always gives the same cells. */
export function drawScreen(state: State): Canvas {
  const canvas = new Canvas(state.width, state.height);
  const screen = canvas.all;
  const { width, height } = screen;
  if (width < LEAST_WIDTH || height < LEAST_HEIGHT) {
    drawTooSmall(screen);
    return canvas;
  }
  drawHeader(screen.sub(0, 0, width, 1), state);
  drawTabs(screen.sub(0, 1, width, 1), state);
  const lost = state.connection.status === "lost";
  const top = lost ? 3 : 2;
  const body = screen.sub(0, top, width, height - top - 1);
  drawPage(body, state);
  if (lost) {
    for (let y = 0; y < body.height; y++) body.restyle(y, DIM, false);
    drawLost(screen.sub(0, 2, width, 1), state);
  }
  drawFooter(screen.sub(0, height - 1, width, 1), state);
  drawToasts(screen.sub(0, 0, width, height - 1), state);
  if (state.overlay !== null) drawOverlay(screen, state, state.overlay);
  return canvas;
}

function drawPage(region: Region, state: State): void {
  const page = currentPage(state);
  switch (page.kind) {
    case "workflows":
      drawWorkflows(region, state);
      break;
    case "workflow":
      drawWorkflow(region, state, page);
      break;
    case "runs":
      drawRunTable(region, state, "runs", null);
      break;
    case "run":
      drawRun(region, state, page);
      break;
    case "logs":
      drawLog(region, state);
      break;
    case "agents":
      drawAgents(region, state);
      break;
    case "activity":
      drawActivity(region, state);
      break;
    case "approvals":
      drawApprovals(region, state);
      break;
    case "queue":
      drawQueue(region, state);
      break;
    case "calendar":
      drawCalendar(region, state);
      break;
    case "alerts":
      drawAlerts(region, state);
      break;
  }
}
