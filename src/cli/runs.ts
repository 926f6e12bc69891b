import { group, lazy } from "./support/command.ts";

export default group(
  "List, inspect, explain, compare, cancel and retry runs",
  {
    list: lazy("List runs, newest first", () => import("./runs/list.ts")),
    show: lazy("Show a run: attempts, tasks, parameters, timeline", () => import("./runs/show.ts")),
    why: lazy("Explain why a run waits, or why it failed", () => import("./runs/why.ts")),
    diff: lazy("Show what differs between two runs of a workflow", () => import("./runs/diff.ts")),
    artifacts: lazy(
      "List the files that the tasks of a run left, and download them",
      () => import("./runs/artifacts.ts"),
    ),
    queue: lazy("Show what waits for agents and pools, in order", () => import("./runs/queue.ts")),
    priority: lazy("Change the priority of a run", () => import("./runs/priority.ts")),
    cancel: lazy("Cancel a run", () => import("./runs/cancel.ts")),
    retry: lazy("Retry the failed tasks of a run, or all of them", () => import("./runs/retry.ts")),
  },
  { details: "A RUN is a run's id or any unambiguous prefix of it.", topic: "state-machines" },
);
