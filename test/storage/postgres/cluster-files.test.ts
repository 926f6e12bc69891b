import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { ClusterFiles } from "../../../src/storage/postgres/cluster-files.ts";
import { prepareClusterTables } from "../../../src/storage/postgres/cluster-schema.ts";
import { PostgresConnection } from "../../../src/storage/postgres/connection.ts";
import { parseStoreUrl } from "../../../src/storage/postgres/url.ts";
import { PostgresServer } from "../../support/postgres.ts";

setDefaultTimeout(120_000);

let server: PostgresServer;
const connections: PostgresConnection[] = [];

beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  for (const connection of connections) await connection.stop();
  await server[Symbol.asyncDispose]();
});

/** A member, connected to a database. */
async function member(
  database: string,
  name: string,
): Promise<{ files: ClusterFiles; pg: PostgresConnection }> {
  const pg = new PostgresConnection(parseStoreUrl(server.url({ database })), { application: name });
  connections.push(pg);
  await pg.start();
  await pg.connected(60_000);
  await prepareClusterTables(pg);
  return { files: new ClusterFiles(pg, name), pg };
}

test("a change is made by whoever knows the last one, all of it or nothing, and others are told", async () => {
  const database = await server.database();
  const a = await member(database, "a");
  const b = await member(database, "b");
  expect(await a.files.changesAfter(-1)).toEqual({ number: 0, files: [] });
  const heard = Promise.withResolvers<void>();
  const isListening = Promise.withResolvers<void>();
  let isFirst = true;
  const end = b.files.listen(() => {
    if (!isFirst) heard.resolve();
    isFirst = false;
    isListening.resolve();
  });
  await isListening.promise;
  const text = '{"name": "bob\\u0000 ü \\"x\\""}\n';
  expect(
    await a.files.change(0, [
      { path: "clients/bob.json", content: text },
      { path: "tokens/1.json", content: "{}" },
    ]),
  ).toBe(1);
  await heard.promise;
  end();
  expect(await b.files.change(0, [{ path: "clients/eve.json", content: "{}" }])).toBeUndefined();
  expect(await b.files.changesAfter(0)).toEqual({
    number: 1,
    files: [
      { path: "clients/bob.json", content: text },
      { path: "tokens/1.json", content: "{}" },
    ],
  });
  expect(await b.files.change(1, [{ path: "clients/bob.json", content: null }])).toBe(2);
  expect(await a.files.changesAfter(1)).toEqual({
    number: 2,
    files: [{ path: "clients/bob.json", content: null }],
  });
  const [row] = await server.sql(
    "SELECT changed_by FROM cdktr.cluster_files WHERE path = 'clients/bob.json'",
    [],
    database,
  );
  expect(row).toEqual({ changed_by: "b" });
});

test("of many changes at once each is made after another, and none is lost", async () => {
  const database = await server.database();
  const members = await Promise.all(["a", "b", "c"].map((name) => member(database, name)));
  await Promise.all(
    members.map(async ({ files }, index) => {
      for (let n = 0; n < 20; n++) {
        for (;;) {
          const { number } = await files.changesAfter(-1);
          if ((await files.change(number, [{ path: `tokens/${index}-${n}`, content: "x" }])) !== undefined)
            break;
        }
      }
    }),
  );
  const { number, files } = (await members[0]?.files.changesAfter(-1)) ?? {};
  expect([number, files?.length]).toEqual([60, 60]);
});

test("a table that was emptied begins again", async () => {
  const database = await server.database();
  const { files, pg } = await member(database, "a");
  await files.change((await files.changesAfter(-1)).number, [{ path: "x", content: "1" }]);
  await pg.query("TRUNCATE cluster_files");
  expect(await files.changesAfter(1)).toEqual({ number: 0, files: [] });
});
