import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, statSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PreparedFiles } from "../../src/contract/messages.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../src/errors.ts";
import { Transfers } from "../../src/history/transfers.ts";
import { turn } from "../../src/timer.ts";
import { failure } from "../principal/support.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const HOUR = 3_600_000;
/** More than one piece, and not a multiple of one. */
const BIG = Buffer.alloc(7 * 1024 * 1024 + 13, "0123456789abcdef-");

let directory: TemporaryDirectory;
let transfers: Transfers;

function make(idleMs = HOUR): Transfers {
  transfers = new Transfers({ directory: directory.path("transfers"), idleMs });
  transfers.start();
  return transfers;
}

beforeEach(() => {
  directory = new TemporaryDirectory();
  make();
});
afterEach(() => {
  transfers.stop();
  directory[Symbol.dispose]();
});

/** Prepares files of these contents. */
function prepare(
  files: Record<string, string | Buffer>,
  rows: [string, number][] = [],
): Promise<PreparedFiles> {
  return transfers.prepare(async (into) => {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(into, name), content);
    return new Map(rows);
  });
}

/** A file as a client reads it, piece by piece. */
async function fetched(transfer_id: string, name: string): Promise<{ content: Buffer; pieces: number }> {
  const pieces: Buffer[] = [];
  for (let offset: number | null = 0; offset !== null; ) {
    const piece: { data: string; next: number | null } = await transfers.read({ transfer_id, name, offset });
    pieces.push(Buffer.from(piece.data, "base64"));
    offset = piece.next;
  }
  return { content: Buffer.concat(pieces), pieces: pieces.length };
}

const onDisk = () => readdirSync(directory.path("transfers"));

describe("files that are being prepared", () => {
  test("are given up when they are dropped: nothing of them is left", async () => {
    const id = crypto.randomUUID();
    const preparing = transfers.prepare((into, signal) => {
      writeFileSync(join(into, "half"), "half");
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    }, id);
    expect(onDisk()).toEqual([id]);
    await transfers.drop(id);
    expect((await failure(preparing)).message).toBe("The client that asked for these files is gone.");
    expect(onDisk()).toEqual([]);
    // It has room for others, and the id is free.
    expect((await transfers.prepare(async () => new Map(), id)).transfer_id).toBe(id);
    expect(await failure(transfers.prepare(async () => new Map(), id))).toBeInstanceOf(UnprocessableError);
  });
});

describe("files that were prepared", () => {
  test("are read for their checksum while everything else goes on", async () => {
    let turns = 0;
    let isDone = false;
    const preparing = transfers.prepare(async (into) => {
      writeFileSync(join(into, "large"), Buffer.alloc(64 * 1024 * 1024));
      void (async () => {
        for (; !isDone; turns++) await turn();
      })();
      return new Map();
    });
    await preparing;
    isDone = true;
    // It was read in more pieces than that.
    expect(turns).toBeGreaterThan(20);
  });

  test("are listed by name, with size, checksum and rows, and nobody else may look at them", async () => {
    const { transfer_id, files } = await prepare({ "b.parquet": "two", "a.parquet": "" }, [["b.parquet", 2]]);
    expect(files).toEqual([
      {
        name: "a.parquet",
        bytes: 0,
        sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        rows: null,
      },
      { name: "b.parquet", bytes: 3, sha256: new Bun.SHA256().update("two").digest("hex"), rows: 2 },
    ]);
    for (const path of [directory.path("transfers"), directory.path("transfers", transfer_id)])
      expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  test("come in pieces, each as often as it is asked for", async () => {
    const { transfer_id } = await prepare({ big: BIG, empty: "" });
    const { content, pieces } = await fetched(transfer_id, "big");
    expect(content.equals(BIG)).toBe(true);
    expect(pieces).toBe(3);
    // A client that did not get an answer asks again.
    expect((await fetched(transfer_id, "big")).content.equals(BIG)).toBe(true);
    expect(await fetched(transfer_id, "empty")).toEqual({ content: Buffer.alloc(0), pieces: 1 });
  });

  test("end where they end", async () => {
    const { transfer_id } = await prepare({ file: "0123456789" });
    const read = (offset: number) => transfers.read({ transfer_id, name: "file", offset });
    expect(await read(7)).toEqual({ data: Buffer.from("789").toString("base64"), next: null });
    expect(await read(10)).toEqual({ data: "", next: null });
    expect(await read(1_000_000)).toEqual({ data: "", next: null });
  });

  test("are the only ones that can be read", async () => {
    writeFileSync(directory.path("secret"), "secret");
    const { transfer_id } = await prepare({ file: "x" });
    const other = await prepare({ "other file": "x" });
    for (const name of ["missing", "../../secret", "", ".", `../${other.transfer_id}/other file`])
      expect(await failure(transfers.read({ transfer_id, name, offset: 0 }))).toBeInstanceOf(NotFoundError);
    const unknown = transfers.read({ transfer_id: "..", name: "secret", offset: 0 });
    expect(await failure(unknown)).toBeInstanceOf(NotFoundError);
  });
});

describe("what is removed", () => {
  test("a transfer that is dropped, whole, and it can be dropped again", async () => {
    const one = await prepare({ file: "x" });
    const two = await prepare({ file: "y" });
    await transfers.drop(one.transfer_id);
    await transfers.drop(one.transfer_id);
    expect(onDisk()).toEqual([two.transfer_id]);
    const gone = transfers.read({ transfer_id: one.transfer_id, name: "file", offset: 0 });
    expect((await failure(gone)).message).toBe("These files no longer exist.");
    expect((await fetched(two.transfer_id, "file")).content.toString()).toBe("y");
  });

  test("one that nobody asks for any more", async () => {
    transfers.stop();
    make(20);
    const removed = Promise.withResolvers<void>();
    const watcher = watch(directory.path("transfers"), () => {
      if (onDisk().length === 0) removed.resolve();
    });
    const { transfer_id } = await prepare({ file: "x" });
    await removed.promise;
    watcher.close();
    const gone = transfers.read({ transfer_id, name: "file", offset: 0 });
    expect(await failure(gone)).toBeInstanceOf(NotFoundError);
  });

  test("what an earlier process left, at the start, and everything at the end", async () => {
    const left = directory.path("transfers", "left", "deep");
    mkdirSync(left, { recursive: true });
    writeFileSync(join(left, "file"), "x");
    make();
    expect(onDisk()).toEqual([]);
    await prepare({ file: "x" });
    transfers.stop();
    expect(existsSync(directory.path("transfers"))).toBe(false);
    // Safe to say twice.
    transfers.stop();
  });

  test("what could not be prepared", async () => {
    const refusal = new InvalidInputError("no such day");
    const refused = transfers.prepare(async (into) => {
      writeFileSync(join(into, "half"), "x");
      throw refusal;
    });
    expect(await failure(refused)).toBe(refusal);
    const broken = await failure(
      transfers.prepare(async () => {
        throw new Error("ENOSPC: no space left on device");
      }),
    );
    expect(broken).toBeInstanceOf(UnprocessableError);
    expect(broken.message).toContain("no space left on device");
    expect(onDisk()).toEqual([]);
  });
});

test("there are four at most, those that are still being prepared included", async () => {
  const three = [await prepare({ file: "1" }), await prepare({ file: "2" }), await prepare({ file: "3" })];
  const writing = Promise.withResolvers<ReadonlyMap<string, number>>();
  const fourth = transfers.prepare(() => writing.promise);
  expect((await failure(prepare({ file: "5" }))).message).toContain("4 exports and backups are already");
  // One that fails makes room, as one that is dropped does.
  writing.reject(new Error("failed"));
  await failure(fourth);
  await prepare({ file: "4" });
  expect(await failure(prepare({ file: "5" }))).toBeInstanceOf(UnprocessableError);
  await transfers.drop(three[0]?.transfer_id ?? "");
  await prepare({ file: "5" });
  expect(onDisk()).toHaveLength(4);
});
