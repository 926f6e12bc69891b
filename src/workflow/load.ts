/** Reads one workflow file from disk. */
import { dirname, join } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { matchingFiles } from "../host/matching-files.ts";
import { type RegularFile, readFileInside, readRegularFile } from "../host/regular-file.ts";
import { whyUnreadable } from "../host/unreadable.ts";
import { type AlertFileResult, isAlertFile, isAlertPath, parseAlert } from "./alert-file.ts";
import { type Calendar, calendarOf, type Day } from "./calendar.ts";
import type { ChannelSettings } from "./channels.ts";
import { mergeDefaults } from "./defaults.ts";
import { DIAGNOSTIC_CODES, type Diagnostic, fileDiagnostic, locate } from "./diagnostic.ts";
import { daysOfIcs, MAX_ICS_BYTES } from "./ics.ts";
import { MAX_BUNDLE_BYTES } from "./limits.ts";
import type { Defaults } from "./model.ts";
import { MAX_FILE_BYTES, type ParseResult, parseWorkflow, tooLarge } from "./parse.ts";
import {
  directoriesOf,
  directoryOf,
  parseSettings,
  SETTINGS_NAMES,
  type SettingsResult,
  secondSettings,
} from "./settings-file.ts";
import { SourceText } from "./source-text.ts";
import { workflowIdOf } from "./workflow-id.ts";

const DAY_MS = 86_400_000;
/** How far back and ahead calendar files are read. */
const DAYS_BACK = 2 * 366;
const DAYS_AHEAD = 10 * 366;

/** The result of loading a file: its definition or its problems, and its text, if it could be read as text. */
export type LoadResult = ParseResult & { readonly source: string | null };

export interface LoadOptions {
  /** The name of the file in messages; by default its relative path. */
  readonly displayPath?: string;
  /** The defaults of its directory. */
  readonly defaults?: Defaults | undefined;
}

/**
 * Loads and checks the file at `relativePath` under `root`; the id is derived from `relativePath`. Never throws: a file that cannot be
 * read, is too large or is not UTF-8 results in a diagnostic.
 */
export function loadWorkflowFile(root: string, relativePath: string, options: LoadOptions = {}): LoadResult {
  const path = join(root, relativePath);
  const result = checkWorkflowFile(relativePath, readRegularFile(path, MAX_FILE_BYTES), options);
  const problem = result.ok ? problemOfFiles(dirname(path), result.definition.files) : null;
  if (problem === null) return result;
  const found = fileDiagnostic(options.displayPath ?? relativePath, "E090", problem.message, problem.help);
  return { ok: false, diagnostics: [found], source: result.source };
}

/** Why the files that a workflow names cannot travel with its runs; null if they can. */
function problemOfFiles(
  directory: string,
  globs: readonly string[] | undefined,
): { message: string; help?: string } | null {
  if (globs === undefined) return null;
  try {
    const { bytes } = matchingFiles(directory, globs);
    if (bytes <= MAX_BUNDLE_BYTES) return null;
    const [has, most] = [bytes, MAX_BUNDLE_BYTES].map((size) => `${Math.ceil(size / 1024 / 1024)} MiB`);
    return { message: `"files" has ${has}; at most ${most}`, help: "name fewer files" };
  } catch (error) {
    const help = error instanceof CdktrError ? error.hint : undefined;
    return { message: `"files": ${errorMessage(error)}`, ...(help === undefined ? {} : { help }) };
  }
}

/** Like {@link loadWorkflowFile}, for a file that has already been read. */
export function checkWorkflowFile(
  relativePath: string,
  file: RegularFile,
  options: LoadOptions = {},
): LoadResult {
  const path = options.displayPath ?? relativePath;
  let id: string;
  try {
    id = workflowIdOf(relativePath);
  } catch (error) {
    const help = error instanceof CdktrError ? error.hint : undefined;
    return {
      ok: false,
      diagnostics: [fileDiagnostic(path, "E051", errorMessage(error), help)],
      source: null,
    };
  }
  const read = textOfFile(path, file);
  if (typeof read !== "string") return { ok: false, diagnostics: [read], source: null };
  return { ...parseWorkflow(read, { path, id, defaults: options.defaults }), source: read };
}

/** Checks a settings file that has been read. @param path relative to the workflow directory @param shown its name in messages */
export function parseSettingsFile(path: string, file: RegularFile, shown = path): SettingsResult {
  const text = textOfFile(shown, file);
  const isRoot = directoryOf(path) === "";
  return typeof text === "string" ? parseSettings(text, shown, isRoot) : { ok: false, diagnostics: [text] };
}

/** Loads the file at a path below `root` if it is an alert file; undefined if it is none. @param path from the directory of alerts on */
export function loadAlertFile(
  root: string,
  relativePath: string,
  path = relativePath,
  shown = relativePath,
): (AlertFileResult & { readonly source: string | null }) | undefined {
  if (!isAlertPath(path)) return undefined;
  const file = readRegularFile(join(root, relativePath), MAX_FILE_BYTES);
  if (!isAlertFile(path, file)) return undefined;
  const text = textOfFile(shown, file);
  return { ...parseAlertFile(path, file, shown), source: typeof text === "string" ? text : null };
}

/** Checks an alert file that has been read. @param path relative to the workflow directory @param shown its name in messages */
export function parseAlertFile(path: string, file: RegularFile, shown = path): AlertFileResult {
  const text = textOfFile(shown, file);
  return typeof text === "string" ? parseAlert(text, path, shown) : { ok: false, diagnostics: [text] };
}

/** The days of a calendar file that has been read, or what is wrong with it. @param shown its name in messages */
export type CalendarFileResult =
  | { readonly ok: true; readonly days: readonly Day[] }
  /** `again`: it could not be read, which may be otherwise the next time although it has not changed. */
  | { readonly ok: false; readonly diagnostic: Diagnostic; readonly again: boolean };

/** Reads the days of a calendar file. @param shown its name in messages @param nowMs decides how far back and ahead its rules are followed */
export function readCalendarFile(shown: string, file: RegularFile, nowMs: number): CalendarFileResult {
  const fail = (diagnostic: Diagnostic): CalendarFileResult => ({
    ok: false,
    diagnostic: { ...diagnostic, code: "E045", kind: DIAGNOSTIC_CODES.E045 },
    again: file.kind === "failed",
  });
  const text = textOfFile(shown, file);
  if (typeof text !== "string") return fail(text);
  const today = Math.floor(nowMs / DAY_MS);
  const result = daysOfIcs(text, today - DAYS_BACK, today + DAYS_AHEAD);
  if (result.ok) return { ok: true, days: result.days };
  return fail({ ...fileDiagnostic(shown, "E045", result.message, result.help), line: result.line });
}

/** The calendars of a workflow directory, by name, and what is wrong with their files. */
interface Calendars {
  readonly calendars: ReadonlyMap<string, Calendar>;
  readonly problems: readonly Diagnostic[];
}

/** Reads settings files from disk, each once. */
export class SettingsFiles {
  readonly #results = new Map<string, SettingsResult | null>();
  readonly #calendars = new Map<string, Calendars>();

  /** What a settings file says. @param shown its name in messages */
  check(root: string, relativePath: string, shown = relativePath): SettingsResult {
    const [first] = this.#inForce(root, directoryOf(relativePath)) ?? [];
    if (first !== undefined && first !== relativePath)
      return { ok: false, diagnostics: [secondSettings(shown, first)] };
    const file = readRegularFile(join(root, relativePath), MAX_FILE_BYTES);
    return parseSettingsFile(relativePath, file, shown);
  }

  /** The defaults of the directory of a file below `root`; settings that are invalid say nothing. */
  defaultsOf(root: string, relativePath: string): Defaults | undefined {
    let defaults: Defaults | undefined;
    for (const directory of directoriesOf(relativePath)) {
      const [, result] = this.#inForce(root, directory) ?? [];
      if (result?.ok === true) defaults = mergeDefaults(defaults, result.settings.defaults);
    }
    return defaults;
  }

  /** The settings that apply to a file below `root` and are invalid: the path below `root` of each, and what is wrong. */
  invalidAbove(root: string, relativePath: string): [path: string, diagnostics: readonly Diagnostic[]][] {
    return directoriesOf(relativePath).flatMap((directory) => {
      const [path, result] = this.#inForce(root, directory) ?? [];
      return path === undefined || result === undefined || result.ok ? [] : [[path, result.diagnostics]];
    });
  }

  /** The channels of a workflow directory; undefined if its settings are invalid. */
  channelsOf(root: string): Readonly<Record<string, ChannelSettings>> | undefined {
    const [, result] = this.#inForce(root, "") ?? [];
    if (result === undefined) return {};
    return result.ok ? (result.settings.channels ?? {}) : undefined;
  }

  /** The sizes of the pools of a workflow directory; undefined if its settings are invalid, or say nothing of pools. */
  poolsOf(root: string): Readonly<Record<string, number>> | undefined {
    const [, result] = this.#inForce(root, "") ?? [];
    return result?.ok === true ? result.settings.pools : undefined;
  }

  /** The calendars of a workflow directory, and what is wrong with their files. @param nowMs the time */
  calendarsOf(root: string, nowMs: number): Calendars {
    const known = this.#calendars.get(root);
    if (known !== undefined) return known;
    const [, result] = this.#inForce(root, "") ?? [];
    const settings = result?.ok === true ? (result.settings.calendars ?? {}) : {};
    const problems: Diagnostic[] = [];
    const calendars = new Map<string, Calendar>();
    for (const [name, { ics = [], ...items }] of Object.entries(settings)) {
      const days = { include: [] as Day[], exclude: [] as Day[] };
      for (const { file, as } of ics) {
        const read = readCalendarFile(file, readFileInside(root, file, MAX_ICS_BYTES), nowMs);
        if (read.ok) days[as].push(...read.days);
        else problems.push(read.diagnostic);
      }
      const includes = ics.some(({ as }) => as === "include");
      calendars.set(
        name,
        calendarOf(items, { include: includes ? days.include : null, exclude: days.exclude }),
      );
    }
    const found = { calendars, problems };
    this.#calendars.set(root, found);
    return found;
  }

  #inForce(root: string, directory: string): [path: string, result: SettingsResult] | undefined {
    for (const name of SETTINGS_NAMES) {
      const path = directory === "" ? name : `${directory}/${name}`;
      const absolute = join(root, path);
      let result = this.#results.get(absolute);
      if (result === undefined) {
        const file = readRegularFile(absolute, MAX_FILE_BYTES);
        result = file.kind === "failed" && file.code === "ENOENT" ? null : parseSettingsFile(path, file);
        this.#results.set(absolute, result);
      }
      if (result !== null) return [path, result];
    }
    return undefined;
  }
}

/** The text of a file, or why it has none. */
function textOfFile(path: string, file: RegularFile): string | Diagnostic {
  switch (file.kind) {
    case "file":
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(file.bytes);
      } catch {
        return notUtf8(file.bytes, path);
      }
    // A pipe or a device would block the reader or never end.
    case "directory":
      return fileDiagnostic(path, "E008", "is a directory");
    case "other":
      return fileDiagnostic(path, "E008", "is not a regular file");
    case "too large":
      return fileDiagnostic(path, "E005", tooLarge().message, tooLarge().help);
    case "failed":
      return fileDiagnostic(path, "E008", `cannot be read: ${whyUnreadable(file)}`);
  }
}

function notUtf8(bytes: Uint8Array, path: string) {
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (isUtf16) return fileDiagnostic(path, "E004", "the file is UTF-16, not UTF-8", "save it as UTF-8");
  const text = new TextDecoder().decode(bytes);
  const { start, offset } = firstInvalid(text, bytes);
  const byte = (bytes[offset] ?? 0).toString(16).padStart(2, "0");
  const message = `the file is not UTF-8: the byte 0x${byte} is not valid here`;
  const finding = { code: "E004", message, help: "save it as UTF-8", start, end: start + 1 } as const;
  const [diagnostic] = locate([finding], new SourceText(text), path);
  return diagnostic ?? fileDiagnostic(path, "E004", "the file is not UTF-8");
}

/** Position of the first replacement character in the decoded text that is not in the bytes themselves. */
function firstInvalid(text: string, bytes: Uint8Array): { start: number; offset: number } {
  // The decoder removes a byte order mark.
  let [start, offset] = [0, bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0];
  for (;;) {
    const next = text.indexOf("\ufffd", start);
    if (next < 0) return { start: 0, offset: 0 };
    offset += Buffer.byteLength(text.slice(start, next));
    if (Buffer.compare(bytes.subarray(offset, offset + 3), REPLACEMENT) !== 0) return { start: next, offset };
    [start, offset] = [next + 1, offset + 3];
  }
}

const REPLACEMENT = Buffer.from("\ufffd");
