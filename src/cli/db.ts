import { group, lazy } from "./support/command.ts";

export default group(
  "Query, export, archive and back up the history database",
  {
    query: lazy("Run a read-only SQL statement", () => import("./db/query.ts")),
    export: lazy("Write the tables as Parquet files", () => import("./db/export.ts")),
    archive: lazy(
      "Move old days into Parquet files, and delete what is kept no longer",
      () => import("./db/archive.ts"),
    ),
    backup: lazy("Write a consistent copy of the database", () => import("./db/backup.ts")),
    move: lazy(
      "Move the principal's state into PostgreSQL, or back into a file",
      () => import("./db/move.ts"),
    ),
  },
  { topic: "logs-and-history" },
);
