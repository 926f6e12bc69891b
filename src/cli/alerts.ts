import { group, lazy } from "./support/command.ts";

export default group(
  "Try the channels to which alerts are sent, and the queries that find alerts",
  {
    test: lazy("Send a message to a channel now", () => import("./alerts/test.ts")),
    queries: lazy("List the alert files, and how their queries do", () => import("./alerts/queries.ts")),
    check: lazy("Check an alert file, and run its query once", () => import("./alerts/check.ts")),
  },
  { topic: "alerts", see: ["workflow validate", "db query"] },
);
