import { group, lazy } from "./support/command.ts";

export default group(
  "Make the principal, an agent or the listeners a service of systemd",
  {
    install: lazy("Write a unit, enable it and start it", () => import("./service/install.ts")),
    status: lazy("Show how the services are", () => import("./service/status.ts")),
    uninstall: lazy("Stop a service and remove its unit", () => import("./service/uninstall.ts")),
    logs: lazy("Show what a service says about itself", () => import("./service/logs.ts")),
  },
  { topic: "operations" },
);
