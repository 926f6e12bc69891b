import { group, lazy } from "./support/command.ts";

export default group(
  "Look at workflow definitions, check them, pause and resume workflows",
  {
    list: lazy("List the workflows", () => import("./workflow/list.ts")),
    show: lazy("Show a workflow: schedule, parameters, tasks", () => import("./workflow/show.ts")),
    validate: lazy("Check workflow files; needs no principal", () => import("./workflow/validate.ts")),
    pause: lazy("Pause workflows: no firings, no events, no new runs", () => import("./workflow/pause.ts")),
    resume: lazy("End the pause of workflows", () => import("./workflow/resume.ts")),
    graph: lazy("Draw a workflow's tasks and their dependencies", () => import("./workflow/graph.ts")),
    schema: lazy("Print the JSON Schema of workflow files", () => import("./workflow/schema.ts")),
  },
  {
    details:
      "A workflow's ID comes from the path of its file: etl/daily.yml in the workflow directory is etl.daily.",
    topic: "workflows",
  },
);
