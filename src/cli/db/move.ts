import { UsageError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { MovedTable } from "../../storage/operational/mirror/move.ts";
import { recordDeed } from "../support/audited.ts";
import { command } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { dataDirArg } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

/** How long to try to connect, ms. */
const CONNECT_MS = 20_000;
/** Between two reports of progress, ms. */
const REPORT_MS = 2000;

export default command({
  meta: { name: "move", description: "Move the principal's state into PostgreSQL, or back into a file" },
  args: {
    to: {
      type: "string",
      valueHint: "URL|file",
      description:
        "Where to: a database of PostgreSQL (else CDKTR_STORE_URL), or file: into state.db of the data directory",
    },
    from: {
      type: "string",
      valueHint: "URL",
      description: "With --to file: the database that it is in (else CDKTR_STORE_URL)",
    },
    "password-file": {
      type: "string",
      valueHint: "FILE",
      description: "File with the password for that database (else CDKTR_STORE_PASSWORD_FILE)",
    },
    replace: { type: "boolean", description: "Replace another state that is there" },
    ...dataDirArg,
    ...jsonArg,
  },
  extras: {
    exit: { 3: null },
    see: ["restore"],
    details: `Runs on the principal's host, as its user, while the principal is stopped; the way back, while all members are. Moves what state.db
      has: runs, the queue, positions of schedules, idempotency keys, secrets (sealed). The history is not part of it.

      What arrives is compared with the original, row by row, before it counts. The original is kept, as state.db.moved, and no principal
      begins a new state beside it. The command may be interrupted at any moment, and run again.`,
    topic: "cluster",
    examples: [
      {
        command: "cdktr db move --to 'postgres://cdktr@db1/cdktr' --password-file store.password",
        does: "for several principals",
      },
      {
        command: "cdktr db move --to file --from 'postgres://cdktr@db1/cdktr'",
        does: "back to one principal",
      },
    ],
  },
  async run({ args }) {
    const isBack = args.to === "file";
    if (!isBack && args.from !== undefined) throw new UsageError("--from is for --to file.");
    const { values } = settings(undefined, {
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
      CDKTR_STORE_PASSWORD_FILE: args["password-file"],
    });
    const directory = values.CDKTR_APP_DATA_DIRECTORY;
    const [option, given] = isBack ? ["--from", args.from] : ["--to", args.to];
    const url = given ?? values.CDKTR_STORE_URL;
    if (url === "")
      throw new UsageError(
        `'cdktr db move' needs a database of PostgreSQL: ${option} URL, or CDKTR_STORE_URL.`,
      );
    const [{ moveIntoFile, moveIntoPostgres }, { parseStoreUrl }, { PostgresConnection }] = await Promise.all(
      [
        import("../../storage/operational/mirror/move.ts"),
        import("../../storage/postgres/url.ts"),
        import("../../storage/postgres/connection.ts"),
      ],
    );
    const address = parseStoreUrl(url, {
      ...(given === undefined ? {} : { setting: option }),
      passwordFile: values.CDKTR_STORE_PASSWORD_FILE,
    });
    const postgres = new PostgresConnection(address, { application: "cdktr db move" });
    await postgres.start();
    let tables: readonly MovedTable[];
    try {
      await postgres.connected(CONNECT_MS);
      let saidAt = performance.now();
      tables = await (isBack ? moveIntoFile : moveIntoPostgres)({
        directory,
        postgres,
        log,
        isForced: args.replace ?? false,
        progress: (done, all) => {
          if (performance.now() < saidAt + REPORT_MS) return;
          saidAt = performance.now();
          say(`Sent ${done} of ${plural(all, "row")} …`);
        },
      });
    } finally {
      await postgres.stop();
    }
    recordDeed(directory, {
      action: "state.move",
      subject: isBack ? "file" : address.shown,
      ...(isBack ? { detail: { from: address.shown } } : {}),
    });
    if (args.json)
      return printJson({
        from: isBack ? address.shown : directory,
        to: isBack ? directory : address.shown,
        tables,
      });
    const rows = tables.reduce((sum, table) => sum + table.rows, 0);
    const what = `${plural(rows, "row")} of ${plural(tables.length, "table")}, which are the same on both sides`;
    if (isBack) {
      say(`Moved the state from ${address.shown} into ${directory}: ${what}.`);
      say("Start the principal without CDKTR_STORE_URL. No member leads on that database any more.");
    } else {
      say(`Moved the state of ${directory} into ${address.shown}: ${what}.`);
      say("Start the principal with CDKTR_STORE_URL. The former state is kept as state.db.moved.");
    }
  },
});
