import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { BlobCache, DamagedBlobError } from "../../src/blobs/blob-cache.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = new TemporaryDirectory();
});
afterEach(() => directory[Symbol.dispose]());

const hashOf = (content: string) => new Bun.CryptoHasher("sha256").update(content).digest("hex");
const open = (limitBytes = 1000) => new BlobCache(directory.path("cache"), limitBytes);

/** Somebody who has blobs, and gives them three bytes at a time. */
class Source {
  readonly asked: number[] = [];
  constructor(readonly content: string) {}
  get hash() {
    return hashOf(this.content);
  }
  readonly fetch = async (offset: number) => {
    this.asked.push(offset);
    return Buffer.from(this.content).subarray(offset, offset + 3);
  };
  read(cache: BlobCache, fetch = this.fetch) {
    return cache.use(this.hash, this.content.length, fetch, async (path) => readFileSync(path, "utf8"));
  }
}

test("a blob is fetched once, also when many ask for it at once, and also after a restart", async () => {
  const source = new Source("12345678");
  const cache = open();
  expect(await Promise.all([1, 2, 3].map(() => source.read(cache)))).toEqual([
    "12345678",
    "12345678",
    "12345678",
  ]);
  expect(await source.read(open())).toBe("12345678");
  expect(source.asked).toEqual([0, 3, 6]);
});

test("a fetch that was interrupted goes on where it was, in another process too", async () => {
  const source = new Source("12345678");
  const breaks = async (offset: number) => {
    if (offset === 6) throw new Error("away");
    return source.fetch(offset);
  };
  await expect(source.read(open(), breaks)).rejects.toThrow("away");
  expect(await source.read(open())).toBe("12345678");
  expect(source.asked).toEqual([0, 3, 6]);
});

test.each([
  ["other", "1234zz"],
  ["longer", "123456789"],
])("a part that is damaged on the disk (%s) is fetched anew at once", async (_, part) => {
  const source = new Source("12345678");
  const cache = open();
  writeFileSync(directory.path("cache", `${source.hash}.part`), part);
  expect(await source.read(cache)).toBe("12345678");
  expect(source.asked.slice(-3)).toEqual([0, 3, 6]);
});

test("a part that nobody fetches any more does not stay", async () => {
  open();
  const [old, fresh] = [hashOf("a"), hashOf("b")].map((hash) => directory.path("cache", `${hash}.part`));
  for (const path of [old, fresh]) writeFileSync(path ?? "", "half");
  const before = Date.now() / 1000 - 2 * 24 * 3600;
  utimesSync(old ?? "", before, before);
  open();
  expect([old, fresh].map((path) => existsSync(path ?? ""))).toEqual([false, true]);
});

test("whoever gives up does not take it from those who wait", async () => {
  const source = new Source("12345678");
  const cache = open();
  const gate = Promise.withResolvers<void>();
  const first = source.read(cache, async () => {
    await gate.promise;
    throw new Error("stopped");
  });
  const second = source.read(cache);
  gate.resolve();
  await expect(first).rejects.toThrow("stopped");
  expect(await second).toBe("12345678");
});

test.each([
  ["other bytes", async () => Buffer.from("87654321")],
  ["too little", async (offset: number) => Buffer.from("1234".slice(offset))],
  ["too much", async () => Buffer.from("123456789")],
])("%s are not taken for the blob, and the next time it is fetched anew", async (_, fetch) => {
  const source = new Source("12345678");
  const cache = open();
  await expect(source.read(cache, fetch)).rejects.toBeInstanceOf(DamagedBlobError);
  expect(readdirSync(directory.path("cache"))).toEqual([]);
  expect(await source.read(cache)).toBe("12345678");
});

test("what was not used for longest makes room, but nothing that is being read", async () => {
  const [a, b, c] = ["aaaaaa", "bbbbbb", "cccccc"].map((content) => new Source(content)) as [
    Source,
    Source,
    Source,
  ];
  const cache = open(12);
  const isThere = ({ hash }: Source) => existsSync(directory.path("cache", hash));
  await a.read(cache);
  await b.read(cache);
  await a.read(cache);
  await cache.use(b.hash, 6, b.fetch, async () => {
    await c.read(cache);
    expect([a, b, c].map(isThere)).toEqual([false, true, true]);
  });
  // A smaller one since a restart.
  open(6);
  expect([a, b, c].filter(isThere)).toHaveLength(1);
});

test("what is added need not be fetched; what a dead process left is removed", async () => {
  const source = new Source("12345678");
  const cache = open();
  const file = cache.newFile();
  writeFileSync(file, source.content);
  cache.add(source.hash, 8, file);
  expect(await source.read(cache)).toBe("12345678");
  expect(source.asked).toEqual([]);
  writeFileSync(cache.newFile(), "half");
  open();
  expect(readdirSync(directory.path("cache"))).toEqual([source.hash]);
});
