/** That the servers which other tests stand on do what they are asked for. */
import { expect, test } from "bun:test";
import { SQL } from "bun";
import { PostgresServer } from "../../support/postgres.ts";

test("a server survives restart and kill, a synchronous standby has all, and takes over", async () => {
  await using primary = await PostgresServer.start();
  const database = await primary.database();
  const sql = new SQL(primary.url({ database }));
  await sql.unsafe("CREATE SCHEMA cdktr");
  await sql.unsafe("CREATE TABLE cdktr.notes (n int)");
  await sql.unsafe("INSERT INTO cdktr.notes VALUES (1)");
  const notes = (server: PostgresServer) => server.sql("SELECT n FROM cdktr.notes ORDER BY n", [], database);

  await primary.restart();
  await primary.kill();
  await primary.startAgain();
  expect(await notes(primary)).toEqual([{ n: 1 }]);

  const standby = await primary.standby("b");
  await primary.synchronous("b");
  await primary.sql("INSERT INTO cdktr.notes VALUES (2)", [], database);
  await primary.kill();
  await standby.promote();
  await standby.sql("INSERT INTO cdktr.notes VALUES (3)", [], database);
  expect(await notes(standby)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);

  await primary.startAgain();
  await sql.close({ timeout: 0 });
});

test("a server that is paused answers when it is resumed", async () => {
  await using server = await PostgresServer.start();
  server.pause();
  let answered = false;
  const answer = server.sql("SELECT 1 AS one").finally(() => {
    answered = true;
  });
  // Something else that a running server would have answered by then.
  await using other = await PostgresServer.start();
  await other.sql("SELECT 1");
  expect(answered).toBe(false);
  server.resume();
  expect(await answer).toEqual([{ one: 1 }]);
});
