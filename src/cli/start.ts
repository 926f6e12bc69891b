import { group, lazy } from "./support/command.ts";

export default group("Run a principal or an agent in the foreground", {
  principal: lazy("Run the principal", () => import("./start/principal.ts")),
  agent: lazy("Run an agent", () => import("./start/agent.ts")),
});
