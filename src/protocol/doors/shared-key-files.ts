/** The files of keys that all members of an installation share, as they are on this host; see merge-key-files.ts. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { checkPrivate, makePrivateDirectory, writePrivate } from "../../host/private-files.ts";
import { syncToDisk } from "../../host/sync-to-disk.ts";
import { keysDirectory } from "../key-file.ts";
import { ServerKeyFile } from "./key-store.ts";
import { type Content, decide, isForStore, isShared, isUsable, SERVER_KEY } from "./merge-key-files.ts";

/** What this host and the store contained when they last agreed: the hash of each file. */
const Agreed = z.object({ files: z.record(z.string(), z.string()) });

/** The largest file that is taken from the store. */
const MOST_CHARACTERS = 1024 * 1024;
/** Stands for what was agreed and is neither here nor in the store any more; only its hash is known. */
const OTHER = "\0";

/** What must be done for this host and the store to agree. */
export interface Differences {
  /** What the store gets; null removes a file. */
  readonly toStore: ReadonlyMap<string, Content>;
  /** What this host gets, with what it has now. */
  readonly toDisk: ReadonlyMap<string, { readonly content: Content; readonly instead: Content }>;
  /** Both have another pair of the principal: nothing can be shared. */
  readonly isForeign: boolean;
}

/** The shared files of a data directory. */
export class SharedKeyFiles {
  readonly directory: string;
  readonly #agreedFile: string;
  /** Contents that were found usable: nearly always, they are looked at again as they are. */
  readonly #checked = new Map<string, string>();

  constructor(dataDirectory: string) {
    this.directory = keysDirectory(dataDirectory);
    this.#agreedFile = join(this.directory, "shared.json");
  }

  /**
   * What must be done for this host and the store to agree.
   * @param there what the store has: null for a file that was removed
   * @throws NotPrivateError when others have access to the files
   */
  compare(there: ReadonlyMap<string, Content>): Differences {
    const { here, damaged } = this.#read();
    const toStore = new Map<string, Content>();
    const toDisk = new Map<string, { content: Content; instead: Content }>();
    const own = here.get(SERVER_KEY);
    const theirs = there.get(SERVER_KEY) ?? undefined;
    if (own !== undefined && theirs !== undefined && !isSamePair(own, theirs))
      return { toStore, toDisk, isForeign: true };
    // A host without the principal's key has no keys: what it lacks was not removed.
    const agreed = own === undefined ? {} : this.#agreed();
    for (const path of new Set([...here.keys(), ...there.keys()])) {
      const [ours, stored] = [here.get(path) ?? null, there.get(path)];
      if (!this.#isKnown(path, stored) || (path === SERVER_KEY && ours !== null && stored != null)) continue;
      const hash = damaged.has(path) ? undefined : agreed[path];
      const isAgreed = (text: Content | undefined) => text != null && hashOf(text) === hash;
      const base =
        hash === undefined ? null : isAgreed(ours) ? ours : isAgreed(stored) ? (stored ?? null) : OTHER;
      const wanted = decide(path, base, ours, stored);
      if (isForStore(path, stored, wanted)) toStore.set(path, wanted);
      if (wanted !== ours) toDisk.set(path, { content: wanted, instead: ours });
    }
    return { toStore, toDisk, isForeign: false };
  }

  /**
   * Writes what {@link compare} found for this host, except what was changed in the meantime.
   * @returns whether all is written
   * @throws CdktrError when it cannot be written
   */
  write(toDisk: Differences["toDisk"]): boolean {
    let isDone = true;
    for (const directory of ["", "clients", "tokens"]) makePrivateDirectory(join(this.directory, directory));
    // The principal's key last, because it means that there are keys.
    const paths = [...toDisk.keys()].sort((a, b) => Number(a === SERVER_KEY) - Number(b === SERVER_KEY));
    for (const path of paths) {
      const { content, instead } = toDisk.get(path) ?? { content: null, instead: null };
      const file = join(this.directory, path);
      if (this.#usable(path) !== instead) isDone = false;
      else if (content !== null) writePrivate(file, content);
      else {
        rmSync(file, { force: true });
        syncToDisk(dirname(file));
      }
    }
    return isDone;
  }

  /** Keeps in mind what the store has, which this host has too now. */
  agree(there: ReadonlyMap<string, Content>): void {
    const files: Record<string, string> = {};
    for (const [path, content] of [...there].sort(([a], [b]) => (a < b ? -1 : 1)))
      if (content !== null && this.#isKnown(path, content)) files[path] = hashOf(content);
    const text = `${JSON.stringify({ files } satisfies z.infer<typeof Agreed>, null, 2)}\n`;
    if (existsSync(this.directory) && this.#text(this.#agreedFile) !== text)
      writePrivate(this.#agreedFile, text);
  }

  #agreed(): Record<string, string> {
    const text = this.#text(this.#agreedFile);
    if (text === null) return {};
    try {
      return Agreed.parse(JSON.parse(text)).files;
    } catch {
      // Then nothing counts as removed.
      return {};
    }
  }

  /** The files, and which of them are damaged or readable by others: these are not passed on, and the store's replace them. */
  #read(): { here: Map<string, string>; damaged: Set<string> } {
    const here = new Map<string, string>();
    const damaged = new Set<string>();
    for (const directory of ["", "clients", "tokens"]) {
      const place = join(this.directory, directory);
      if (!existsSync(place)) continue;
      checkPrivate(place);
      for (const name of readdirSync(place)) {
        const path = join(directory, name);
        if (!isShared(path)) continue;
        const text = this.#usable(path);
        if (text !== null) here.set(path, text);
        else if (existsSync(join(this.directory, path))) damaged.add(path);
      }
    }
    return { here, damaged };
  }

  #usable(path: string): string | null {
    const file = join(this.directory, path);
    const status = statSync(file, { throwIfNoEntry: false });
    if (status === undefined || (status.mode & 0o077) !== 0) return null;
    const text = this.#text(file);
    return text !== null && this.#isUsable(path, text) ? text : null;
  }

  /** Whether the store's file is one that this cdktr knows: others are left alone. */
  #isKnown(path: string, stored: Content | undefined): boolean {
    return (
      isShared(path) && (stored == null || (stored.length <= MOST_CHARACTERS && this.#isUsable(path, stored)))
    );
  }

  #isUsable(path: string, text: string): boolean {
    if (this.#checked.get(path) === text) return true;
    if (!isUsable(path, text)) return false;
    this.#checked.set(path, text);
    return true;
  }

  #text(file: string): string | null {
    try {
      return readFileSync(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  }
}

function isSamePair(one: string, other: string): boolean {
  const [ours, theirs] = [one, other].map((text) => ServerKeyFile.parse(JSON.parse(text)));
  return ours?.public_key === theirs?.public_key && ours?.secret_key === theirs?.secret_key;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
