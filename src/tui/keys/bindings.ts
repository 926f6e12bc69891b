/** The active key bindings. The footer and the help are generated from these tables. */
import { currentPage } from "../navigation.ts";
import type { State } from "../state.ts";
import { agentKeys } from "./agent-keys.ts";
import { alertKeys } from "./alert-keys.ts";
import { approvalKeys } from "./approval-keys.ts";
import type { Binding } from "./binding.ts";
import { calendarKeys } from "./calendar-keys.ts";
import { globalKeys } from "./global-keys.ts";
import { logKeys } from "./log-keys.ts";
import { listKeys, scrollKeys } from "./move-keys.ts";
import { queueKeys } from "./queue-keys.ts";
import { fileKeys, outputKeys, runKeys, runListKeys } from "./run-keys.ts";
import { workflowKeys, workflowListKeys } from "./workflow-keys.ts";

/** A table of keys with its heading in the help. */
export interface BindingGroup {
  readonly title: string;
  readonly bindings: readonly Binding[];
}

/** The tables that apply to the current page, the most specific first. */
export function groupsFor(state: State): BindingGroup[] {
  const page = currentPage(state);
  const global: BindingGroup = { title: "Everywhere", bindings: globalKeys };
  const lists: BindingGroup = { title: "Moving", bindings: listKeys };
  const scrolling: BindingGroup = { title: "Moving", bindings: scrollKeys };
  switch (page.kind) {
    case "workflows":
      return [{ title: "Workflows", bindings: workflowListKeys }, lists, global];
    case "workflow":
      if (page.pane === "runs") {
        return [
          { title: "Runs of the workflow", bindings: runListKeys },
          { title: "Workflow", bindings: workflowKeys },
          lists,
          global,
        ];
      }
      return [
        { title: "Workflow", bindings: workflowKeys },
        page.pane === "graph" ? lists : scrolling,
        global,
      ];
    case "runs":
      return [{ title: "Runs", bindings: runListKeys }, lists, global];
    case "run":
      if (page.pane === "log") {
        return [{ title: "Log", bindings: logKeys }, { title: "Run", bindings: runKeys }, global];
      }
      if (page.pane === "outputs" || page.pane === "files") {
        return [
          page.pane === "files"
            ? { title: "Files", bindings: fileKeys }
            : { title: "Outputs", bindings: outputKeys },
          { title: "Run", bindings: runKeys },
          lists,
          global,
        ];
      }
      return [{ title: "Run", bindings: runKeys }, page.pane === "details" ? scrolling : lists, global];
    case "logs":
      return [{ title: "Log", bindings: logKeys }, global];
    case "agents":
      return [{ title: "Agents", bindings: agentKeys }, lists, global];
    case "activity":
      return [lists, global];
    case "approvals":
      return [{ title: "Approvals", bindings: approvalKeys }, lists, global];
    case "queue":
      return [{ title: "Queue", bindings: queueKeys }, lists, global];
    case "calendar":
      return [{ title: "Calendar", bindings: calendarKeys }, lists, global];
    case "alerts":
      return [{ title: "Alerts", bindings: alertKeys }, lists, global];
  }
}

/** All keys that apply to the current page; if two tables share a key, the first one wins. */
export function bindingsFor(state: State): Binding[] {
  return groupsFor(state)
    .flatMap((group) => group.bindings)
    .filter((binding) => binding.when?.(state) ?? true);
}
