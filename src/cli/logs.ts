import { group, lazy } from "./support/command.ts";

export default group(
  "Search the log history and follow it live",
  {
    query: lazy("Search the log lines of all runs", () => import("./logs/query.ts")),
    tail: lazy("Follow log lines as they are written", () => import("./logs/tail.ts")),
  },
  { topic: "logs-and-history" },
);
