import { expect, test } from "bun:test";
import { IN_MEMORY } from "../../../src/contract/history.ts";
import { UnprocessableError } from "../../../src/errors.ts";
import { openDatabase } from "../../../src/history/database/duckdb.ts";
import { HistoryReaders } from "../../../src/history/database/readers.ts";
import { TestDirectory } from "../database-support.ts";

test("a read whose turn does not come ends with the reason; later ones get theirs", async () => {
  using directory = new TestDirectory();
  const { instance, connection } = await openDatabase({
    path: IN_MEMORY,
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
  });
  const readers = new HistoryReaders(instance, 1, 50);
  const go = Promise.withResolvers<void>();
  const long = readers.lend(60_000, () => go.promise);
  const refused = await readers.lend(60_000, async () => {}).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(UnprocessableError);
  expect((refused as Error).message).toBe("The history is busy: another request took longer than 0.05 s.");
  const next = readers.lend(60_000, async () => "served");
  go.resolve();
  await long;
  expect(await next).toBe("served");
  await readers.close();
  connection.disconnectSync();
  instance.closeSync();
});

test("a read that is given up is interrupted, or does not begin; the next one gets its turn", async () => {
  using directory = new TestDirectory();
  const { instance, connection } = await openDatabase({
    path: IN_MEMORY,
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
  });
  const readers = new HistoryReaders(instance, 1, 60_000);
  const running = Promise.withResolvers<void>();
  const [first, second] = [new AbortController(), new AbortController()];
  const endless = readers.read(
    60_000,
    async (reader) => {
      running.resolve();
      await reader.run("SELECT max(hash(range)) FROM range(1_000_000_000_000)");
    },
    undefined,
    first.signal,
  );
  await running.promise;
  const waiting = readers.read(60_000, async () => "not any more", undefined, second.signal);
  const next = readers.read(60_000, async () => "served");
  second.abort(new Error("gone"));
  expect(await waiting.catch((error: unknown) => error)).toMatchObject({ message: "gone" });
  first.abort();
  expect(await endless.catch((error: unknown) => error)).toBeInstanceOf(UnprocessableError);
  expect(await next).toBe("served");
  await readers.close();
  connection.disconnectSync();
  instance.closeSync();
});
