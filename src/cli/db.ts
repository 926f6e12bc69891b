import { group, lazy } from "./support/command.ts";

export default group(
  "Query, export and back up the history database",
  {
    query: lazy("Run a read-only SQL statement", () => import("./db/query.ts")),
    export: lazy("Write the tables as Parquet files", () => import("./db/export.ts")),
    backup: lazy("Write a consistent copy of the database", () => import("./db/backup.ts")),
  },
  { topic: "logs-and-history" },
);
