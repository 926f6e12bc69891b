import { group, lazy } from "./support/command.ts";

export default group(
  "Run the principal, an agent or the listeners under systemd",
  {
    install: lazy("Write a unit, enable it and start it", () => import("./service/install.ts")),
    status: lazy("Show the state of the services", () => import("./service/status.ts")),
    uninstall: lazy("Stop a service and remove its unit", () => import("./service/uninstall.ts")),
    logs: lazy("Show the log of a service", () => import("./service/logs.ts")),
  },
  { topic: "operations" },
);
