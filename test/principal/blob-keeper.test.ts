import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BlobStore } from "../../src/blobs/blob-store.ts";
import { DiskPlace } from "../../src/blobs/disk-place.ts";
import { BlobKeeper } from "../../src/principal/blobs/blob-keeper.ts";
import { Bundles } from "../../src/principal/blobs/bundles.ts";
import { pendingRun, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";

const HOUR = 3_600_000;
const hashOf = (content: string) => new Bun.CryptoHasher("sha256").update(content).digest("hex");

async function open(
  stores: TestStores,
  limitBytes = 1_000_000,
  artifactsMs: number | null = null,
  owner = "installation",
) {
  const clock = new ManualClock();
  const store = await stores.open(owner, clock);
  const place = new DiskPlace(join(stores.directory, "blobs"));
  const blobs = new BlobStore(place, join(stores.directory, "parts"));
  const keeper = new BlobKeeper({
    store,
    blobs,
    limitBytes,
    artifactsBytes: 100,
    artifactsMs,
    owner: () => owner,
    clock,
    log: silent,
  });
  const add = async (content: string) => {
    const file = blobs.newFile();
    writeFileSync(file, content);
    const blob = { hash: hashOf(content), bytes: content.length };
    await keeper.add(blob, file);
    return blob;
  };
  const kept = async () => (await Array.fromAsync(place.list())).map(({ hash }) => hash).sort();
  return { clock, store, place, keeper, blobs, add, kept };
}

test("what no run refers to is removed after an hour, what one refers to is not", async () => {
  await using stores = new TestStores();
  const { clock, store, keeper, add, kept } = await open(stores);
  const [used, unused] = [await add("used"), await add("unused")];
  await store.transact(async (tx) => {
    await tx.createRun(pendingRun("r1"), "{}", []);
    await tx.referToBlob("r1", "bundle", "", used.hash);
  });
  await keeper.tidy();
  expect(await kept()).toEqual([used.hash, unused.hash].sort());
  clock.advance(HOUR + 1);
  // Somebody is about to refer to it.
  expect(await keeper.has(unused)).toBe(true);
  await keeper.tidy();
  expect(await kept()).toHaveLength(2);
  clock.advance(HOUR + 1);
  await keeper.tidy();
  expect(await kept()).toEqual([used.hash]);
  expect(await keeper.has(unused)).toBe(false);
  expect(keeper.held).toMatchObject({ archives: 1, bytes: 4, error: null });
});

test("what the state does not know, as after a restore, is removed", async () => {
  await using stores = new TestStores();
  const { clock, keeper, blobs, add, kept } = await open(stores);
  const known = await add("known");
  const stranger = blobs.newFile();
  writeFileSync(stranger, "stranger");
  await blobs.add(hashOf("stranger"), 8, stranger);
  await keeper.tidy();
  expect(await kept()).toHaveLength(2);
  // The place has the time of the disk.
  clock.advance(Date.now() + 25 * HOUR);
  expect(await keeper.has(known)).toBe(true);
  await keeper.tidy();
  expect(await kept()).toEqual([known.hash]);
});

test("what runs have left is removed when it is too old, if that is set, but not of a run that is not over", async () => {
  await using stores = new TestStores();
  const { clock, store, keeper, add, kept } = await open(stores, 1_000_000, 48 * HOUR);
  const [over, open_] = [await add("over"), await add("open")];
  await store.transact(async (tx) => {
    await tx.createRun(pendingRun("over", { status: "FAILED", queued: false, finished_at_ms: 1 }), "{}", []);
    await tx.createRun(pendingRun("open"), "{}", []);
    for (const [workflow_instance_id, { hash, bytes }] of [
      ["over", over],
      ["open", open_],
    ] as const) {
      const of = {
        workflow_instance_id,
        task_id: "a",
        item_key: null,
        item_index: null,
        task_instance_id: "t",
      };
      await tx.putArtifacts({ ...of, hash, bytes, files: "[]" });
    }
  });
  clock.advance(47 * HOUR);
  await keeper.tidy();
  expect(await kept()).toHaveLength(2);
  clock.advance(2 * HOUR);
  await keeper.tidy();
  expect(await kept()).toEqual([open_.hash]);
  expect(await keeper.list("over")).toEqual([]);
});

test("no more is taken than there may be", async () => {
  await using stores = new TestStores();
  const { add, kept } = await open(stores, 10);
  await add("12345");
  await expect(add("123456")).rejects.toThrow("there is no room for 1 MiB");
  await add("67890");
  expect(await kept()).toHaveLength(2);
});

test("files that have not changed are not packed again, unless what was packed is gone", async () => {
  await using stores = new TestStores();
  const { keeper, blobs, place, kept } = await open(stores);
  const bundles = new Bundles({
    keeper,
    blobs,
    workflows: { get: () => undefined, directoryOf: () => undefined },
  });
  try {
    const directory = join(stores.directory, "workflow");
    mkdirSync(directory);
    writeFileSync(join(directory, "x.sql"), "select 1");
    const pack = () => bundles.of("etl", directory, ["*.sql"]);
    const first = await pack();
    expect(await pack()).toEqual(first);
    await place.remove(first.hash);
    expect(await pack()).toEqual(first);
    expect(await kept()).toEqual([first.hash]);
    writeFileSync(join(directory, "x.sql"), "select 22");
    expect((await pack()).hash).not.toBe(first.hash);
    expect(readdirSync(join(stores.directory, "parts"))).toEqual([]);
    await expect(bundles.of("etl", directory, ["*.py"])).rejects.toThrow(
      'The files of etl cannot be packed: no file matches "*.py".',
    );
  } finally {
    bundles.close();
  }
});

test("from a place that another principal has nothing is removed", async () => {
  await using stores = new TestStores();
  const first = await open(stores);
  const [used, both] = [await first.add("used"), await first.add("both")];
  await first.keeper.tidy();
  const second = await open(stores, 1_000_000, null, "another installation");
  await second.add("both");
  second.clock.advance(Date.now() + 25 * HOUR);
  await second.keeper.tidy();
  expect(await second.kept()).toEqual([used.hash, both.hash].sort());
  first.clock.advance(Date.now() + 25 * HOUR);
  await first.store.transact(async (tx) => {
    await tx.createRun(pendingRun("r1"), "{}", []);
    await tx.referToBlob("r1", "bundle", "", used.hash);
  });
  await first.keeper.tidy();
  expect(await first.kept()).toEqual([used.hash]);
});
