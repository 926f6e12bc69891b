import { group, lazy } from "./support/command.ts";

export default group(
  "List what waits for a person, approve and reject",
  {
    list: lazy("List the tasks that wait for a person", () => import("./approvals/list.ts")),
    approve: lazy("Approve what a task asks", () => import("./approvals/approve.ts")),
    reject: lazy("Reject what a task asks", () => import("./approvals/reject.ts")),
  },
  {
    details: "A RUN is a run's id or any unambiguous prefix of it.",
    topic: "waiting",
  },
);
