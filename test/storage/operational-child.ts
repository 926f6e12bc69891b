/** A separate process that works on a store: `operational-child.ts DIRECTORY hold|write`. */
import { errorMessage } from "../../src/errors.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { StoreUnavailableError } from "../../src/storage/operational/store.ts";
import { pendingRun, silent } from "./operational-support.ts";

const [directory = "", mode] = process.argv.slice(2);
const say = (line: string) => process.stdout.write(`${line}\n`);
const store = new SqliteOperationalStore({ directory, log: silent });
await store.start();
say("open");
if (mode === "hold") await new Promise(() => setInterval(() => {}, 1000));

// Writes until it was refused, then until it works again; says so, with the number of rows that must be there.
let written = 0;
let refused = false;
for (let number = 0; ; number++) {
  try {
    await store.transact((tx) =>
      tx.createRun(pendingRun(`run-${number}`, { definition_hash: `hash-${number}` }), "x".repeat(5000), []),
    );
    written++;
    if (refused) break;
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    if (!refused) say(`refused ${errorMessage(error)}`);
    refused = true;
    // Space comes without a word: it is tried again.
    await Bun.sleep(10);
  }
}
say(`healed ${written}`);
await store.stop();
