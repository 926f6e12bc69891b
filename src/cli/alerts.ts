import { group, lazy } from "./support/command.ts";

export default group(
  "List alerts, see who was told, try channels and queries",
  {
    list: lazy("List alerts, and whether those who are to know were told", () => import("./alerts/list.ts")),
    show: lazy("Show an alert: what happened, and who was told when", () => import("./alerts/show.ts")),
    retry: lazy("Tell channels again what they could not be told", () => import("./alerts/retry.ts")),
    dismiss: lazy(
      "Do not tell channels what waits for them, or was given up",
      () => import("./alerts/dismiss.ts"),
    ),
    channels: lazy("List the channels, and whether they work", () => import("./alerts/channels.ts")),
    test: lazy("Send a message to a channel now", () => import("./alerts/test.ts")),
    queries: lazy("List the alert files, and how their queries do", () => import("./alerts/queries.ts")),
    check: lazy("Check an alert file, and run its query once", () => import("./alerts/check.ts")),
  },
  { topic: "alerts", see: ["workflow validate", "db query"] },
);
