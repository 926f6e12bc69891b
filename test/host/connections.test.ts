import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { endConnections } from "../../src/host/connections.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

/** Whether another process may write a database. */
async function isFree(path: string): Promise<boolean> {
  const script = `new (require("bun:sqlite").Database)(process.argv.at(-1)).run("CREATE TABLE u (n)")`;
  const child = Bun.spawn([process.execPath, "-e", script, path], { stderr: "ignore" });
  return (await child.exited) === 0;
}

test("looking at connections leaves the locks on files alone, also with a port that is off", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.path("state.db");
  const database = new Database(path);
  database.run("PRAGMA locking_mode = EXCLUSIVE");
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (n)");
  expect(await isFree(path)).toBe(false);
  const seen: number[] = [];
  expect(endConnections(new Set([0]), ({ port }) => seen.push(port) > 0)).toBe(0);
  expect(seen).toEqual([]);
  expect(await isFree(path)).toBe(false);
  database.close();
  expect(await isFree(path)).toBe(true);
});
