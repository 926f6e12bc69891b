/** A leader in a process of its own: `mirror-child.ts URL DIRECTORY`. It says each run that is committed, until it is killed. */
import { Replica } from "../../src/storage/operational/mirror/replica.ts";
import { WriteThrough } from "../../src/storage/operational/mirror/write-through.ts";
import { STATE_MIGRATIONS } from "../../src/storage/operational/sqlite/schema.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { connectTo, takeOver } from "./mirror-support.ts";
import { pendingRun, silent } from "./operational-support.ts";

const [url = "", directory = ""] = process.argv.slice(2);
const connection = await connectTo(url);
const term = await takeOver(connection);
const replica = new Replica({ directory, log: silent, migrations: STATE_MIGRATIONS });
await replica.load(connection);
await replica.lead(connection, term);
const store = new SqliteOperationalStore({
  directory,
  log: silent,
  replica: {
    isNew: replica.isNew,
    writeThrough: new WriteThrough({
      query: (...args) => connection.query(...args),
      term,
      seq: replica.seq,
      over: () => process.exit(1),
    }),
  },
});
await store.start();
for (let n = 0; ; n++) {
  const ids = Array.from({ length: 1 + (n % 3) }, (_, i) => `${term.epoch}-${n}-${i}`);
  await Promise.all(ids.map((id) => store.transact((tx) => tx.createRun(pendingRun(id), "{}", []))));
  process.stdout.write(ids.map((id) => `${id}\n`).join(""));
}
