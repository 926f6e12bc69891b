import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BlobPlace } from "../../src/blobs/blob-place.ts";
import { BlobsUnavailableError, NoSuchBlobError } from "../../src/blobs/blob-place.ts";
import { BlobStore } from "../../src/blobs/blob-store.ts";
import { DiskPlace } from "../../src/blobs/disk-place.ts";
import { S3Place } from "../../src/blobs/s3-place.ts";
import { InvalidInputError } from "../../src/errors.ts";
import { Moto } from "../support/moto.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const hashOf = (content: Uint8Array | string) => new Bun.CryptoHasher("sha256").update(content).digest("hex");
const bytesOf = (text: string) => new TextEncoder().encode(text);
const CONTENT = bytesOf("one two three four");
const HASH = hashOf(CONTENT);
const SIZE = CONTENT.length;

const directory = new TemporaryDirectory();
let moto: Moto;
beforeAll(async () => {
  moto = await Moto.start();
}, 120_000);
afterAll(async () => {
  directory[Symbol.dispose]();
  await moto[Symbol.asyncDispose]();
});

const KEYS = { accessKeyId: "test", secretAccessKey: "test", region: "us-east-1" };
let last = 0;
const PLACES: Record<string, () => Promise<BlobPlace>> = {
  "a directory": async () => new DiskPlace(directory.path(`place-${++last}`)),
  "a bucket": async () =>
    new S3Place({ ...KEYS, bucket: await moto.bucket(), prefix: "some/prefix/", endpoint: moto.endpoint }),
};

for (const [where, newPlace] of Object.entries(PLACES)) {
  describe(`blobs in ${where}`, () => {
    async function open() {
      const place = await newPlace();
      const parts = directory.path(`parts-${++last}`);
      const reopened = () => new BlobStore(place, parts);
      return { place, parts, reopened, store: reopened() };
    }
    const read = async (place: BlobPlace) => Buffer.from(await place.read(HASH, 0, 1000)).toString();

    test("a blob that came in pieces is there when the last one has come", async () => {
      const { place, store } = await open();
      expect(await store.write(HASH, SIZE, 0, CONTENT.subarray(0, 7))).toBe(7);
      expect(await place.sizeOf(HASH)).toBeNull();
      expect(await store.write(HASH, SIZE, 7, CONTENT.subarray(7))).toBe(SIZE);
      expect(await place.sizeOf(HASH)).toBe(SIZE);
      expect(await read(place)).toBe("one two three four");
      expect(Buffer.from(await place.read(HASH, 4, 3)).toString()).toBe("two");
      expect(await place.read(HASH, SIZE, 10)).toHaveLength(0);
    });

    test("a place belongs to whoever claims it first", async () => {
      const { place, store } = await open();
      expect(await place.claim("one")).toBe("one");
      expect(await place.claim("two")).toBe("one");
      expect(await place.claim("one")).toBe("one");
      await store.write(HASH, SIZE, 0, CONTENT);
      expect(await Array.fromAsync(place.list())).toMatchObject([{ hash: HASH }]);
    });

    test("a sender that does not know how far it got is told, and goes on there", async () => {
      const { store, reopened } = await open();
      expect(await store.write(HASH, SIZE, 0, new Uint8Array())).toBe(0);
      await store.write(HASH, SIZE, 0, CONTENT.subarray(0, 7));
      // Another principal process.
      const next = reopened();
      expect(await next.write(HASH, SIZE, 0, new Uint8Array())).toBe(7);
      expect(await next.write(HASH, SIZE, 0, CONTENT)).toBe(7);
      expect(await next.write(HASH, SIZE, 12, CONTENT.subarray(12))).toBe(7);
      expect(await next.write(HASH, SIZE, 7, CONTENT.subarray(7))).toBe(SIZE);
      expect(await next.write(HASH, SIZE, 7, CONTENT.subarray(7))).toBe(SIZE);
      expect(await next.write(HASH, SIZE, 0, new Uint8Array())).toBe(SIZE);
    });

    test("a principal that died before it put a whole part in its place does that when it is asked again", async () => {
      const { place, parts, store } = await open();
      mkdirSync(parts);
      writeFileSync(join(parts, `${HASH}-${SIZE}`), CONTENT);
      expect(await store.write(HASH, SIZE, 0, new Uint8Array())).toBe(SIZE);
      expect(await read(place)).toBe("one two three four");
      expect(readdirSync(parts)).toEqual([]);
    });

    test.each([
      ["other bytes, as after the host has died", "one two three FOUR"],
      ["too much", "one two three four five"],
    ])("a part with %s is thrown away, and what comes again counts", async (_, found) => {
      const { place, parts, store } = await open();
      mkdirSync(parts);
      writeFileSync(join(parts, `${HASH}-${SIZE}`), found);
      const first = await store.write(HASH, SIZE, 0, new Uint8Array()).catch((error) => error);
      if (found.length === SIZE) expect(first).toBeInstanceOf(InvalidInputError);
      let at =
        found.length === SIZE ? 0 : await store.write(HASH, SIZE, first as number, CONTENT.subarray(0, 1));
      while (at < SIZE) at = await store.write(HASH, SIZE, at, CONTENT.subarray(at, at + 5));
      expect(await read(place)).toBe("one two three four");
    });

    test("what has another hash never becomes visible", async () => {
      const { place, parts, store } = await open();
      const wrong = CONTENT.toReversed();
      await expect(store.write(HASH, SIZE, 0, wrong)).rejects.toThrow("what came is not what its hash says");
      expect(await place.sizeOf(HASH)).toBeNull();
      expect(readdirSync(parts)).toEqual([]);
      await expect(place.read(HASH, 0, 1)).rejects.toBeInstanceOf(NoSuchBlobError);
    });

    test("two senders of the same blob at once do not disturb each other", async () => {
      const { place, store } = await open();
      const send = async () => {
        for (let at = 0; at < SIZE; ) at = await store.write(HASH, SIZE, at, CONTENT.subarray(at, at + 3));
      };
      await Promise.all([send(), send(), send()]);
      expect(await read(place)).toBe("one two three four");
    });

    test("blobs are listed and removed; removing one that is not there is no error", async () => {
      const { place, store } = await open();
      const hashes: string[] = [];
      for (const text of ["a", "b", "c"]) {
        const hash = hashOf(text);
        hashes.push(hash);
        const file = store.newFile();
        writeFileSync(file, text);
        await store.add(hash, 1, file);
      }
      const listed = async () => (await Array.fromAsync(place.list())).map(({ hash }) => hash).sort();
      expect(await listed()).toEqual(hashes.toSorted());
      await store.remove(hashes[0] ?? "", async () => true);
      await store.remove(hashes[0] ?? "", async () => true);
      await store.remove(hashes[1] ?? "", async () => false);
      expect(await listed()).toEqual(hashes.slice(1).sort());
    });

    test("a blob of several pieces of S3 arrives whole", async () => {
      const { place, store } = await open();
      const content = new Uint8Array(12 * 1024 * 1024).map((_, i) => (i * 7919) >> 8);
      const hash = hashOf(content);
      for (let at = 0; at < content.length; )
        at = await store.write(hash, content.length, at, content.subarray(at, at + 5_000_000));
      expect(await place.sizeOf(hash)).toBe(content.length);
      const middle = await place.read(hash, 6_000_000, 2_000_000);
      expect(hashOf(middle)).toBe(hashOf(content.subarray(6_000_000, 8_000_000)));
    });
  });
}

describe("what cannot be written", () => {
  test("a directory that is none is told with its name, and heals", async () => {
    const parts = directory.path("in-the-way");
    writeFileSync(parts, "");
    const place = new DiskPlace(directory.path("healing"));
    const store = new BlobStore(place, parts);
    const error = await store.write(HASH, SIZE, 0, CONTENT).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(BlobsUnavailableError);
    expect(error.message).toContain(parts);
    await Bun.file(parts).unlink();
    expect(await store.write(HASH, SIZE, 0, CONTENT)).toBe(SIZE);
  });

  test("a place that fails keeps the part: the next request puts it there", async () => {
    const where = directory.path("not-yet");
    writeFileSync(where, "");
    const parts = directory.path("parts-kept");
    const store = new BlobStore(new DiskPlace(where), parts);
    await expect(store.write(HASH, SIZE, 0, CONTENT)).rejects.toBeInstanceOf(BlobsUnavailableError);
    expect(statSync(join(parts, `${HASH}-${SIZE}`)).size).toBe(SIZE);
    await Bun.file(where).unlink();
    expect(await store.write(HASH, SIZE, 0, new Uint8Array())).toBe(SIZE);
  });

  test("a bucket that does not exist, and one that cannot be reached, are told with their names", async () => {
    const missing = new S3Place({ ...KEYS, bucket: "no-such-bucket", prefix: "", endpoint: moto.endpoint });
    const file = directory.path("file");
    writeFileSync(file, "x");
    await expect(missing.put(hashOf("x"), file)).rejects.toThrow(
      /^Files cannot be kept in s3:\/\/no-such-bucket\/: /,
    );
    // Nobody listens there.
    const away = new S3Place({ ...KEYS, bucket: "b-away", prefix: "", endpoint: "http://127.0.0.1:1" });
    await expect(away.sizeOf(HASH)).rejects.toBeInstanceOf(BlobsUnavailableError);
  });
});
