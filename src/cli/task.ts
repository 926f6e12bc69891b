import { group, lazy } from "./support/command.ts";

export default group(
  "Trigger workflows",
  { run: lazy("Trigger a workflow", () => import("./task/run.ts")) },
  { topic: "workflows" },
);
