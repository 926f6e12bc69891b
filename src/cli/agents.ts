import { group, lazy } from "./support/command.ts";

export default group(
  "List agents and drain them",
  {
    list: lazy("List the agents that the principal knows", () => import("./agents/list.ts")),
    drain: lazy("Let an agent finish its runs and take no new ones", () => import("./agents/drain.ts")),
  },
  { topic: "agents" },
);
