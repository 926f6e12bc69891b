import { group, lazy } from "./support/command.ts";

export default group(
  "Run a principal, an agent or listeners in the foreground",
  {
    principal: lazy("Run the principal", () => import("./start/principal.ts")),
    listeners: lazy("Serve the triggers that workflow files declare", () => import("./start/listeners.ts")),
    agent: lazy("Run an agent", () => import("./start/agent.ts")),
  },
  { topic: "getting-started", see: ["service install"] },
);
