import { existsSync } from "node:fs";
import { join } from "node:path";
import { nameOfLake } from "../../contract/history.ts";
import { UnprocessableError, UsageError } from "../../errors.ts";
import { moveIntoDatabase, moveIntoLake } from "../../history/lake/move.ts";
import { log } from "../../log.ts";
import { lakeSettings } from "../../principal/history/lake-settings.ts";
import {
  epochOf,
  MovedAlreadyError,
  moveIntoFile,
  moveIntoPostgres,
} from "../../storage/operational/mirror/move.ts";
import { STATE_FILE } from "../../storage/operational/moved.ts";
import { PostgresConnection } from "../../storage/postgres/connection.ts";
import { parseStoreUrl } from "../../storage/postgres/url.ts";
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
        "Where to: a database of PostgreSQL, by default that of CDKTR_STORE_URL; or file, into the data directory",
    },
    from: {
      type: "string",
      valueHint: "URL",
      description: "With --to file: the database that it is in, by default that of CDKTR_STORE_URL",
    },
    "password-file": {
      type: "string",
      valueHint: "FILE",
      description: "File with the password for that database; by default CDKTR_STORE_PASSWORD_FILE",
    },
    history: {
      type: "string",
      valueHint: "URL",
      description: "Move the history too: the database of the lake, by default that of CDKTR_HISTORY_URL",
    },
    "history-data": {
      type: "string",
      valueHint: "DIR|s3://…",
      description: "Where the files of the lake are; by default CDKTR_HISTORY_DATA",
    },
    replace: { type: "boolean", description: "Replace another state that is there" },
    ...dataDirArg,
    ...jsonArg,
  },
  extras: {
    exit: { 3: null },
    see: ["restore"],
    details: `Runs on the principal's host, as its user, while the principal is stopped; the way back, while all members are. Moves what state.db
      has (runs, the queue, positions of schedules, idempotency keys, sealed secrets), and with --history or CDKTR_HISTORY_URL the
      history: from its file, with the archive, into the lake.

      What arrives is compared with the original before it counts. The originals are kept, as state.db.moved and app.db.moved, and no
      principal begins a new state beside them. The command may be interrupted at any moment, and run again.`,
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
      CDKTR_HISTORY_URL: args.history,
      CDKTR_HISTORY_DATA: args["history-data"],
    });
    const directory = values.CDKTR_APP_DATA_DIRECTORY;
    const [option, given] = isBack ? ["--from", args.from] : ["--to", args.to];
    const url = given ?? values.CDKTR_STORE_URL;
    if (url === "")
      throw new UsageError(
        `'cdktr db move' needs a database of PostgreSQL: ${option} URL, or CDKTR_STORE_URL.`,
      );
    const address = parseStoreUrl(url, {
      ...(given === undefined ? {} : { setting: option }),
      passwordFile: values.CDKTR_STORE_PASSWORD_FILE,
    });
    // What is wrong with it is said before anything is moved.
    const lake = lakeSettings(values);
    const path = values.CDKTR_DB_PATH;
    // Where the state is there as well, an earlier attempt has come so far.
    if (isBack && lake !== undefined && existsSync(path) && !existsSync(join(directory, STATE_FILE)))
      throw new UnprocessableError(`There is a history ${path} already. Nothing was changed.`, {
        hint: "Move it away first.",
      });
    const postgres = new PostgresConnection(address, { application: "cdktr db move" });
    await postgres.start();
    let state: readonly MovedTable[] | null;
    let history: readonly MovedTable[] | null = null;
    try {
      await postgres.connected(CONNECT_MS);
      const move = isBack ? moveIntoFile : moveIntoPostgres;
      const isForced = args.replace ?? false;
      state = await move({ directory, postgres, log, isForced, progress: progressOf() }).catch((error) => {
        // An earlier attempt has come so far.
        if (lake === undefined || !(error instanceof MovedAlreadyError)) throw error;
        say(error.message);
        return null;
      });
      if (state !== null) {
        recordDeed(directory, {
          action: "state.move",
          subject: isBack ? "file" : address.shown,
          ...(isBack ? { detail: { from: address.shown } } : {}),
        });
        if (!args.json) say(`Moved the state ${wayOf(isBack, address.shown, directory)}: ${sizeOf(state)}.`);
      }
      if (lake !== undefined) {
        // The history of a former leader writes no more, those of later ones do.
        const settings = { ...lake, epoch: await epochOf(postgres) };
        const moveHistory = isBack ? moveIntoDatabase : moveIntoLake;
        history = await moveHistory({ path, lake: settings, directory, progress: progressOf() });
        if (!args.json)
          say(`Moved the history ${wayOf(isBack, nameOfLake(settings), path)}: ${sizeOf(history)}.`);
      }
    } finally {
      await postgres.stop();
    }
    if (args.json) return printJson({ to: isBack ? directory : address.shown, state, history });
    if (isBack)
      say("Start the principal without CDKTR_STORE_URL. No member leads on that database any more.");
    else say("Start the principal with CDKTR_STORE_URL. The former state is kept as state.db.moved.");
    if (lake === undefined) say("The history was not moved: there is no CDKTR_HISTORY_URL.");
  },
});

interface MovedTable {
  readonly table: string;
  readonly rows: number;
}

function wayOf(isBack: boolean, there: string, here: string): string {
  return isBack ? `from ${there} into ${here}` : `of ${here} into ${there}`;
}

function sizeOf(tables: readonly MovedTable[]): string {
  const rows = tables.reduce((sum, table) => sum + table.rows, 0);
  return `${plural(rows, "row")} of ${plural(tables.length, "table")}, which are the same on both sides`;
}

/** Says now and then how far it is. */
function progressOf(): (done: number, all: number, table?: string) => void {
  let saidAt = performance.now();
  return (done, all, table) => {
    if (performance.now() < saidAt + REPORT_MS) return;
    saidAt = performance.now();
    say(`Sent ${done} of ${plural(all, "row")}${table === undefined ? "" : ` of ${table}`} …`);
  };
}
