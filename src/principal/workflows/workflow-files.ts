/** Access to the files of the workflow directory, which may be on a mount that does not respond. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import { systemClock } from "../../clock.ts";
import { CdktrError } from "../../errors.ts";
import { FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import { childCommand, WORKFLOW_READER } from "../../host/self.ts";
import { inTurns } from "../../timer.ts";
import { fileDiagnostic } from "../../workflow/diagnostic.ts";
import { MAX_ICS_BYTES } from "../../workflow/ics.ts";
import type { CalendarFileResult } from "../../workflow/load.ts";
import type { Defaults } from "../../workflow/model.ts";
import { MAX_FILE_BYTES } from "../../workflow/parse.ts";
import {
  CALENDAR_ENDING,
  directoryOf,
  isCalendarFile,
  isSettingsFile,
} from "../../workflow/settings-file.ts";
import { WORKFLOW_ENDINGS } from "../../workflow/workflow-id.ts";
import { digestFile, type ParsedFile, parseFile } from "./parsed-file.ts";
import type { WorkflowListing } from "./settings-of-directories.ts";

const KEY = "workflows";
/** Number of files that a reader parses at once, and of readers. */
const BATCH = 50;
const READERS = Math.min(4, availableParallelism());

/** The defaults of the directory of a file. */
type DefaultsOf = (path: string) => Defaults | undefined;

/** What was parsed, by path. */
export type ParsedFiles = ReadonlyMap<string, ParsedFile>;

/** Lists, reads and watches the files through a helper process with a deadline. */
export class WorkflowFiles {
  readonly #root: string;
  readonly #log: ConsolaInstance;
  readonly #changed: () => void;
  readonly #helper: FileHelper;
  /** Paths that do not respond, with the reason. They are not accessed until they do. */
  readonly #silent = new Map<string, string>();
  /** What was listed last, and its hash. */
  #listed: { readonly hash: string; readonly listing: WorkflowListing } | undefined;
  /** The processes that parse files at the moment. */
  #readers: readonly FileHelper[] = [];

  /** @param changed called after files may have changed */
  constructor(root: string, helper: FileHelper, log: ConsolaInstance, changed: () => void) {
    this.#root = root;
    this.#log = log;
    this.#helper = helper;
    this.#changed = changed;
    this.#helper.signals.on("changed", (key) => {
      if (key === KEY) changed();
    });
    this.#helper.signals.on("warning", (text) => log.warn(text));
    // A new helper only watches what it has listed.
    this.#helper.signals.on("restarted", changed);
  }

  /**
   * Lists the workflow files and reports later changes. Paths that do not respond are listed as unreadable. As long as nothing changes, the
   * listing is the same object.
   * @throws the error of reading the directory itself
   */
  async list(): Promise<WorkflowListing> {
    for (;;) {
      try {
        const skip = [...this.#silent];
        const found = await this.#helper.ask("tree", {
          key: KEY,
          root: this.#root,
          endings: WORKFLOW_ENDINGS,
          others: [CALENDAR_ENDING],
          skip,
          known: this.#listed?.hash,
        });
        if (found.hash === this.#listed?.hash) return this.#listed.listing;
        const former = found.base === undefined ? undefined : this.#listed?.listing;
        const changed = {
          files: new Map<string, string>(),
          settings: new Map<string, string>(),
          calendars: new Map<string, string>(),
        };
        for (const [path, fingerprint] of found.files) changed[kindOf(path)].set(path, fingerprint);
        const gone = found.gone ?? [];
        const listing: WorkflowListing = {
          files: changedMap(former?.files, changed.files, gone),
          settings: changedMap(former?.settings, changed.settings, gone),
          calendars: changedMap(former?.calendars, changed.calendars, gone),
          // A calendar that nobody names may be whatever it is.
          unreadable: new Map(found.unreadable.filter(([path]) => !isCalendarFile(path))),
          devices: new Map(found.devices),
        };
        this.#listed = { hash: found.hash, listing };
        return listing;
      } catch (error) {
        if (!(error instanceof PathSilentError)) throw error;
        this.#isSilent(error.path, error);
      }
    }
  }

  /** Reads a few of the listed files. A file that cannot be read is there with the reason. */
  async read(paths: readonly string[]): Promise<ReadonlyMap<string, RegularFile>> {
    const request = (left: readonly string[]) => ({
      paths: left.map((path) => `${this.#root}/${path}`),
      maxBytes: MAX_FILE_BYTES,
    });
    return this.#askFor<RegularFile>(
      paths,
      async (left) =>
        (await this.#helper.ask("read", request(left))).map(
          (file): RegularFile =>
            file.kind === "file" ? { kind: "file", bytes: Buffer.from(file.base64, "base64") } : file,
        ),
      (path, error) => {
        if (error instanceof PathSilentError) this.#isSilent(path, error);
        return { kind: "failed", code: "", message: error.message };
      },
    );
  }

  /** Parses a few of the listed files in this process, which needs no other to be started. */
  async parse(paths: readonly string[], defaultsOf: DefaultsOf): Promise<ParsedFiles> {
    const files = await this.read(paths);
    const parsed = new Map<string, ParsedFile>();
    await inTurns(files, ([path, file]) => parsed.set(path, parseFile(path, file, defaultsOf(path))));
    return parsed;
  }

  /**
   * Parses many of the listed files in processes of their own, which stay for more until {@link endReaders}.
   * @param take gets what was parsed, in any order
   * @param isOver asked after each part: whether to stop
   * @returns how many were parsed, at least one part unless all of its paths are silent
   */
  async parseMany(
    paths: readonly string[],
    defaultsOf: DefaultsOf,
    take: (parsed: ParsedFiles) => Promise<void>,
    isOver: () => boolean,
  ): Promise<number> {
    let next = 0;
    let hasFailed = false;
    const doubtful: string[] = [];
    const parseSome = async (reader: FileHelper): Promise<void> => {
      do {
        const some = paths.slice(next, next + BATCH);
        if (some.length === 0) return;
        next += some.length;
        const parsed = await this.#askFor<ParsedFile>(
          some,
          async (left) => {
            const about: Record<string, unknown> = {};
            for (const path of left) {
              const defaults = defaultsOf(path);
              if (defaults !== undefined) about[directoryOf(path)] = defaults;
            }
            const request = { root: this.#root, paths: left, maxBytes: MAX_FILE_BYTES, about };
            return (await reader.ask("digest", request)) as ParsedFile[];
          },
          (path) => void doubtful.push(path),
        );
        await take(parsed);
      } while (!hasFailed && !isOver());
    };
    if (this.#readers.length === 0) this.#readers = Array.from({ length: READERS }, () => this.#reader());
    const parts = this.#readers.map((reader) =>
      parseSome(reader).catch((error) => {
        hasFailed = true;
        throw error;
      }),
    );
    await Promise.allSettled(parts);
    await Promise.all(parts);
    // The helper, which stays, notices when such a path responds.
    if (doubtful.length === 0) return next;
    if (isOver()) return next - doubtful.length;
    await take(await this.parse(doubtful, defaultsOf));
    return next;
  }

  /** The days of calendar files, read in a process of its own. @param nowMs the time */
  async readCalendars(
    paths: readonly string[],
    nowMs: number,
  ): Promise<ReadonlyMap<string, CalendarFileResult>> {
    const reader = this.#reader();
    try {
      return await this.#askFor<CalendarFileResult>(
        paths,
        async (left) => {
          const about = Object.fromEntries(left.map((path) => [directoryOf(path), nowMs]));
          const request = { root: this.#root, paths: left, maxBytes: MAX_ICS_BYTES, about, inside: true };
          return (await reader.ask("digest", request)) as CalendarFileResult[];
        },
        (path, error) => ({
          ok: false,
          diagnostic: fileDiagnostic(path, "E045", `cannot be read: ${error.message}`),
          again: true,
        }),
      );
    } finally {
      reader.close();
    }
  }

  /** Ends the processes that parse files: the memory that it took is given back. */
  endReaders(): void {
    for (const reader of this.#readers) reader.close();
    this.#readers = [];
  }

  /** Ends all processes. */
  close(): void {
    this.#helper.close();
    this.endReaders();
  }

  #reader(): FileHelper {
    const command = childCommand(WORKFLOW_READER, join(import.meta.dir, "reader-main.ts"));
    const reader = new FileHelper(command, systemClock, digestFile);
    reader.signals.on("warning", (text) => this.#log.warn(text));
    return reader;
  }

  /**
   * Asks about all of these paths.
   * @param failed called for paths that do not respond or have ended the helper; returns what to reply for them, if anything
   */
  async #askFor<Reply>(
    paths: readonly string[],
    ask: (left: readonly string[]) => Promise<readonly Reply[]>,
    failed: (path: string, error: CdktrError) => Reply | undefined,
  ): Promise<Map<string, Reply>> {
    const found = new Map<string, Reply>();
    for (let left = paths; left.length > 0; ) {
      try {
        for (const [i, reply] of (await ask(left)).entries()) found.set(left[i] ?? "", reply);
        return found;
      } catch (error) {
        if (!(error instanceof CdktrError)) throw error;
        const at = error instanceof PathSilentError ? error.path.slice(this.#root.length + 1) : undefined;
        const path = at !== undefined && left.includes(at) ? at : (left[0] ?? "");
        const reply = failed(path, error);
        if (reply !== undefined) found.set(path, reply);
        left = left.filter((other) => other !== path);
      }
    }
    return found;
  }

  #isSilent(path: string, error: PathSilentError): void {
    this.#silent.set(path, error.message);
    void error.answers.then(() => {
      this.#silent.delete(path);
      this.#changed();
    });
  }
}

/** Which of the lists of a {@link WorkflowListing} a file is in. */
function kindOf(path: string): "files" | "settings" | "calendars" {
  if (isSettingsFile(path)) return "settings";
  return isCalendarFile(path) ? "calendars" : "files";
}

/** A list of files, sorted by path, after files have changed, or appeared, and others are gone. */
function changedMap(
  former: ReadonlyMap<string, string> | undefined,
  changed: ReadonlyMap<string, string>,
  gone: readonly string[],
): ReadonlyMap<string, string> {
  if (former === undefined) return changed;
  const map = new Map(former);
  for (const path of gone) map.delete(path);
  let isNew = false;
  for (const [path, fingerprint] of changed) {
    isNew ||= !map.has(path);
    map.set(path, fingerprint);
  }
  return isNew ? new Map([...map].sort(([a], [b]) => (a < b ? -1 : 1))) : map;
}
