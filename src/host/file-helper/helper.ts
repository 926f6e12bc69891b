/**
 * The file helper: a child process that accesses the paths that users specify, so that its parent never does. A path on a dead mount
 * may block it until the mount recovers. It handles one request at a time, and reports each path before it accesses it.
 */
import { closeSync, fdatasyncSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { interpreterOf } from "../interpreter.ts";
import { packFiles } from "../pack-files.ts";
import { readFileInside, readRegularFile } from "../regular-file.ts";
import { makeUndumpable } from "../undumpable.ts";
import { PlacesWatch } from "./places-watch.ts";
import type { Digest, FileNews, FileQuestion, FileRequests, FileVerb } from "./requests.ts";
import { followLinks, listTree } from "./tree.ts";
import { WatchedFiles } from "./watched-files.ts";

const STDOUT = 1;
/** How much of a file is copied at once, bytes. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** Maximum number of files in a reply: the parent does other things while it gets the next one. */
const MOST_FILES = 5000;
/** How long to wait before trying again to write into a full pipe, ms. */
const FULL_MS = 5;

/**
 * Answers requests on standard input until the end of input.
 * @param digest what is made of the files of `digest` requests
 */
export async function serveFileRequests(digest?: Digest): Promise<void> {
  // It ignores these signals, because its parent may need it while stopping. It ends when its input is closed.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  const handler = new FileHandler(send, digest);
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of Bun.stdin.stream()) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const question = JSON.parse(line) as FileQuestion;
      // What it reads may be a secret.
      if (question.verb === "read") makeUndumpable();
      handler.answer(question);
    }
  }
}

/** Handles requests in the process in which it is; `send` gets the replies and what is reported later. */
export class FileHandler {
  readonly #send: (news: FileNews) => void;
  readonly #digest: Digest | undefined;
  readonly #globs = new Map<string, WatchedFiles>();
  readonly #watches = new Map<string, PlacesWatch>();
  /** The files that were listed last, and the hash of that listing, by key. */
  readonly #listed = new Map<
    string,
    { readonly hash: string; readonly files: ReadonlyMap<string, string> }
  >();
  #complained = false;

  constructor(send: (news: FileNews) => void, digest?: Digest) {
    this.#send = send;
    this.#digest = digest;
  }

  answer({ id, verb, request }: FileQuestion): void {
    this.#send({ at: id, path: "" });
    try {
      this.#send({ id, reply: this.#do(id, verb, request) });
    } catch (error) {
      const { code = "", message } = error as NodeJS.ErrnoException;
      this.#send({ id, error: message, code });
    }
  }

  /** Ends all watches. */
  close(): void {
    for (const files of this.#globs.values()) files.close();
    for (const watch of this.#watches.values()) watch.close();
    this.#globs.clear();
    this.#watches.clear();
  }

  #do(id: number, verb: FileVerb, request: FileQuestion["request"]): unknown {
    const touching = (path: string) => this.#send({ at: id, path });
    switch (verb) {
      case "tree":
        return this.#tree(request as FileRequests["tree"]["request"], touching);
      case "read":
        return this.#read(request as FileRequests["read"]["request"], touching);
      case "digest":
        return this.#digestAll(request as FileRequests["digest"]["request"], touching);
      case "glob":
        return this.#glob(request as FileRequests["glob"]["request"]);
      case "touch":
        return touch((request as FileRequests["touch"]["request"]).places, touching);
      case "identify":
        return identify((request as FileRequests["identify"]["request"]).path, touching);
      case "copy":
        return copy(request as FileRequests["copy"]["request"], touching);
      case "pack":
        return packFiles(request as FileRequests["pack"]["request"], touching);
      case "forget":
        return this.#forget((request as FileRequests["forget"]["request"]).key);
    }
  }

  #tree(
    { key, root, endings, others = [], skip, known }: FileRequests["tree"]["request"],
    touching: (path: string) => void,
  ): FileRequests["tree"]["reply"] {
    const watch = this.#watch(
      key,
      (event, name) =>
        !name.startsWith(".") &&
        (event === "rename" || [...endings, ...others].some((ending) => name.endsWith(ending))),
    );
    watch.begin();
    const { files, unreadable, devices } = listTree(root, {
      endings,
      others,
      skip: new Map(skip),
      touching,
      directory: (path) => watch.add(path),
      link: (directory, name) => watch.add(directory, name),
    });
    watch.end();
    const found = { files: [...files], unreadable: [...unreadable], devices: [...devices] };
    const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify(found)).digest("hex");
    const former = this.#listed.get(key);
    this.#listed.set(key, { hash, files });
    if (hash === known) return { hash, files: [], unreadable: [], devices: [] };
    if (former === undefined || former.hash !== known) return { hash, ...found };
    // Of 100,000 files, few change at a time.
    const changed = found.files.filter(([path, fingerprint]) => former.files.get(path) !== fingerprint);
    const gone = [...former.files.keys()].filter((path) => !files.has(path));
    return { hash, base: known, ...found, files: changed, gone };
  }

  #read(
    { key, paths, maxBytes }: FileRequests["read"]["request"],
    touching: (path: string) => void,
  ): FileRequests["read"]["reply"] {
    const watch = key === undefined ? undefined : this.#watch(key, () => false);
    watch?.begin();
    const reply = paths.map((path) => {
      touching(path);
      if (watch !== undefined) followLinks(resolve(path), (directory, name) => watch.add(directory, name));
      const found = readRegularFile(path, maxBytes);
      if (found.kind !== "file") return found;
      return { kind: found.kind, base64: Buffer.from(found.bytes).toString("base64") };
    });
    watch?.end();
    return reply;
  }

  #digestAll(
    { root, paths, maxBytes, about = {}, inside = false }: FileRequests["digest"]["request"],
    touching: (path: string) => void,
  ): FileRequests["digest"]["reply"] {
    const digest = this.#digest;
    if (digest === undefined) throw new Error("this helper only reads files");
    return paths.map((path) => {
      const absolute = `${root}/${path}`;
      touching(absolute);
      const directory = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
      const file = inside ? readFileInside(root, path, maxBytes) : readRegularFile(absolute, maxBytes);
      return digest(path, file, about[directory]);
    });
  }

  #glob({
    key,
    glob,
    also,
    directories,
    whole,
    difference,
    rest,
  }: FileRequests["glob"]["request"]): FileRequests["glob"]["reply"] {
    const known = this.#globs.get(key);
    const warn = (warning: string) => this.#send({ warning });
    const files = known ?? new WatchedFiles(glob, () => this.#send({ changed: key }), { warn } as never);
    this.#globs.set(key, files);
    const isRest = rest && known !== undefined;
    const isDifference = difference && known !== undefined;
    const places = isRest ? [] : [...files.look(also, whole, directories)];
    if (!isDifference) files.tellAll();
    return { isDifference, ...files.take(MOST_FILES), places, hears: files.hears };
  }

  #forget(key: string): null {
    this.#globs.get(key)?.close();
    this.#globs.delete(key);
    this.#listed.delete(key);
    this.#watches.get(key)?.close();
    this.#watches.delete(key);
    return null;
  }

  #watch(key: string, relevant: (event: string, name: string) => boolean): PlacesWatch {
    let watch = this.#watches.get(key);
    watch ??= new PlacesWatch({
      relevant,
      changed: () => this.#send({ changed: key }),
      failed: (error) => this.#complain(error),
    });
    this.#watches.set(key, watch);
    return watch;
  }

  #complain(error: unknown): void {
    if (this.#complained) return;
    this.#complained = true;
    this.#send({
      warning:
        `Some changes of files are noticed only by the periodic scan: file events do not work (${error instanceof Error ? error.message : error}). ` +
        "If the reason is ENOSPC, raise fs.inotify.max_user_watches.",
    });
  }
}

function touch(places: FileRequests["touch"]["request"]["places"], touching: (path: string) => void): null {
  const isFile = (path: string) => {
    touching(path);
    try {
      return statSync(path).isFile();
    } catch {
      return false;
    }
  };
  for (const candidates of places) {
    const file = candidates.find(isFile);
    const interpreter = file === undefined ? undefined : interpreterOf(file);
    if (interpreter !== undefined) isFile(interpreter);
  }
  return null;
}

function identify(path: string, touching: (path: string) => void): number | null {
  touching(path);
  return statSync(path, { throwIfNoEntry: false })?.ino ?? null;
}

function copy({ from, to }: FileRequests["copy"]["request"], touching: (path: string) => void): null {
  touching(from);
  const source = openSync(from, "r");
  try {
    const target = openSync(to, "wx", 0o600);
    try {
      const piece = Buffer.alloc(PIECE_BYTES);
      for (let count = readSync(source, piece); count > 0; count = readSync(source, piece)) {
        for (let done = 0; done < count; ) done += writeSync(target, piece, done, count - done);
        // Otherwise whoever syncs a file on this disk next, such as the principal its state, may wait for all of this.
        fdatasyncSync(target);
      }
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
  return null;
}

function send(news: FileNews): void {
  const bytes = Buffer.from(`${JSON.stringify(news)}\n`);
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += writeSync(STDOUT, bytes, sent);
    } catch (error) {
      // The parent has exited.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") process.exit(0);
      Bun.sleepSync(FULL_MS);
    }
  }
}
