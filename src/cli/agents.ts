import { group, lazy } from "./support/command.ts";

export default group(
  "List agents and drain them",
  {
    list: lazy("List the agents the principal knows", () => import("./agents/list.ts")),
    drain: lazy("Let an agent finish what it runs and take nothing new", () => import("./agents/drain.ts")),
  },
  { topic: "agents" },
);
