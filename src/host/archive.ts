/**
 * Files in one file, in the format of tar: what a workflow takes along (a bundle), and what a task leaves (its artifacts). It holds regular
 * files only, in the order of their paths and without times and owners, so that the same files always have the same hash; links were
 * replaced by what they lead to. Everything here is a series of steps, between which a caller may do other things.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { CdktrError } from "../errors.ts";

/** Unit of the format, bytes. */
const BLOCK = 512;
/** How much is read and written in a step, bytes. */
const PIECE_BYTES = 1024 * 1024;
/** The longest name that fits into a header, bytes; longer ones have a header of their own. */
const SHORT_NAME = 100;

/** Longest path of a file, bytes. */
export const MAX_PATH_BYTES = 1024;
/** Most files in an archive. */
export const MAX_FILES = 10_000;

/** A file to be packed. */
export interface Source {
  /** In the archive; relative, with `/`. */
  readonly path: string;
  /** Where it is; absolute. */
  readonly from: string;
}

/** A file in an archive. */
interface ArchivedFile {
  readonly path: string;
  readonly bytes: number;
  /** Of its content in the archive. */
  readonly offset: number;
}

/** An archive. */
export interface Packed {
  /** sha256 of the archive, hexadecimal: its name among blobs. */
  readonly hash: string;
  /** Its size. */
  readonly bytes: number;
  readonly files: readonly ArchivedFile[];
}

/** What was to be packed, or an archive, is not what it should be. */
export class ArchiveError extends CdktrError {}

/**
 * Packs files.
 * @param to the archive, which must not exist; it is flushed to the disk
 * @param touching called before a file is read
 * @throws ArchiveError when one of them is not a regular file (any more)
 */
export function* packing(
  sources: readonly Source[],
  to: string,
  touching: (path: string) => void = () => {},
): Generator<void, Packed> {
  const target = openSync(to, "wx", 0o600);
  try {
    const hasher = new Bun.CryptoHasher("sha256");
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    let at = 0;
    const write = (bytes: Uint8Array) => {
      for (let done = 0; done < bytes.length; )
        done += writeSync(target, bytes, done, bytes.length - done, at + done);
      hasher.update(bytes);
      at += bytes.length;
    };
    const files: ArchivedFile[] = [];
    const sorted = sources
      .map((source) => ({ ...source, name: Buffer.from(source.path) }))
      .sort((a, b) => Buffer.compare(a.name, b.name));
    for (const { path, from, name } of sorted) {
      touching(from);
      // Neither a pipe without a writer nor a link that was put there meanwhile may hold this up, or lead it elsewhere.
      const source = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const info = fstatSync(source);
        if (!info.isFile()) throw new ArchiveError(`"${path}" is not a regular file`);
        const mode = (info.mode & 0o111) === 0 ? 0o644 : 0o755;
        if (name.length > SHORT_NAME) write(longName(name));
        write(header(name.subarray(0, SHORT_NAME), info.size, mode, "0"));
        files.push({ path, bytes: info.size, offset: at });
        for (let left = info.size; left > 0; ) {
          const count = readSync(source, piece, 0, Math.min(piece.length, left), null);
          if (count === 0) throw new ArchiveError(`"${path}" was cut short while it was read`);
          write(piece.subarray(0, count));
          left -= count;
          yield;
        }
        write(Buffer.alloc(padding(info.size)));
      } finally {
        closeSync(source);
      }
    }
    write(Buffer.alloc(2 * BLOCK));
    return { hash: hasher.digest("hex"), bytes: at, files };
  } catch (error) {
    rmSync(to, { force: true });
    throw error;
  } finally {
    closeSync(target);
  }
}

/**
 * Unpacks an archive. Replaces files that are there.
 * @param into a directory that exists
 * @throws ArchiveError when the archive is damaged
 */
export function* unpacking(archive: string, into: string): Generator<void, void> {
  const source = openSync(archive, "r");
  try {
    const made = new Set<string>();
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    for (const { path, bytes, offset, isExecutable } of entries(source)) {
      const place = join(into, path);
      const directory = dirname(place);
      if (!made.has(directory)) mkdirSync(directory, { recursive: true, mode: 0o755 });
      made.add(directory);
      rmSync(place, { force: true });
      const target = openSync(place, "wx", isExecutable ? 0o755 : 0o644);
      try {
        for (let done = 0; done < bytes; ) {
          const count = readSync(source, piece, 0, Math.min(piece.length, bytes - done), offset + done);
          if (count === 0) throw damaged("it is cut short");
          for (let written = 0; written < count; )
            written += writeSync(target, piece, written, count - written);
          done += count;
          yield;
        }
      } finally {
        closeSync(target);
      }
      yield;
    }
  } finally {
    closeSync(source);
  }
}

interface Entry extends ArchivedFile {
  readonly isExecutable: boolean;
}

/** The files of an archive, in order. @throws ArchiveError when it is not one of {@link packing} */
function* entries(archive: number): Generator<Entry> {
  const block = Buffer.alloc(BLOCK);
  let long: string | undefined;
  for (let at = 0; ; ) {
    if (readSync(archive, block, 0, BLOCK, at) < BLOCK) throw damaged("it is cut short");
    at += BLOCK;
    if (block.every((byte) => byte === 0)) return;
    const bytes = Number.parseInt(block.toString("latin1", 124, 136), 8);
    const type = String.fromCharCode(block[156] ?? 0);
    if (
      !Number.isSafeInteger(bytes) ||
      sumOf(block) !== Number.parseInt(block.toString("latin1", 148, 156), 8)
    )
      throw damaged("a header is not valid");
    if (type === "x") {
      if (bytes > 2 * MAX_PATH_BYTES) throw damaged("a path is too long");
      const record = Buffer.alloc(bytes);
      readSync(archive, record, 0, bytes, at);
      long = /^\d+ path=([^\n]*)\n$/.exec(record.toString())?.[1];
    } else if (type === "0") {
      const end = block.indexOf(0);
      const path = long ?? block.toString("utf8", 0, end === -1 ? SHORT_NAME : Math.min(end, SHORT_NAME));
      long = undefined;
      if (!isPathWithin(path)) throw damaged(`${JSON.stringify(path)} leads out of it`);
      const mode = Number.parseInt(block.toString("latin1", 100, 108), 8);
      yield { path, bytes, offset: at, isExecutable: (mode & 0o111) !== 0 };
    } else throw damaged("it holds more than files");
    at += bytes + padding(bytes);
  }
}

/** Whether a path is relative, and stays below where it begins. */
function isPathWithin(path: string): boolean {
  return (
    path !== "" &&
    !path.includes("\0") &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}

function damaged(why: string): ArchiveError {
  return new ArchiveError(`the archive is damaged: ${why}`);
}

function padding(bytes: number): number {
  return (BLOCK - (bytes % BLOCK)) % BLOCK;
}

/** The record that holds the path of the next file. */
function longName(name: Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(" path="), name, Buffer.from("\n")]);
  let length = rest.length + 1;
  // Its length counts its own digits.
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  const record = Buffer.concat([Buffer.from(String(length)), rest]);
  const head = header(Buffer.from("path"), record.length, 0o644, "x");
  return Buffer.concat([head, record, Buffer.alloc(padding(record.length))]);
}

function header(name: Uint8Array, bytes: number, mode: number, type: "0" | "x"): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.set(name, 0);
  const octal = (value: number, offset: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, offset, "latin1");
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(bytes, 124, 12);
  octal(0, 136, 12);
  block.write(type, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  block.write(`${sumOf(block).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** The checksum of a header, in which the checksum counts as blanks. */
function sumOf(block: Uint8Array): number {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i] ?? 0;
  return sum;
}
