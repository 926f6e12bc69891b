import { stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { NotFoundError } from "../../errors.ts";
import { listTree, type TreeListing } from "../../host/file-helper/tree.ts";
import { whyUnreadable } from "../../host/unreadable.ts";
import { isAlertPath } from "../../workflow/alert-file.ts";
import { checkCalendars, checkDays } from "../../workflow/check-calendars.ts";
import { callsOf, checkCalls, locateCallProblems } from "../../workflow/check-calls.ts";
import { checkGroups } from "../../workflow/check-groups.ts";
import { checkNotify, checkTold } from "../../workflow/check-notify.ts";
import { checkPools } from "../../workflow/check-pools.ts";
import { checkChains, locateChainProblem } from "../../workflow/check-triggers.ts";
import { unusedIn } from "../../workflow/check-unused.ts";
import {
  type Diagnostic,
  fileDiagnostic,
  mergeRepeated,
  renderDiagnostic,
} from "../../workflow/diagnostic.ts";
import { loadAlertFile, loadWorkflowFile, SettingsFiles } from "../../workflow/load.ts";
import { isSettingsFile } from "../../workflow/settings-file.ts";
import { findDuplicateIds, WORKFLOW_ENDINGS, workflowIdOrNull } from "../../workflow/workflow-id.ts";
import { command } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { type FilePlace, placeBelow } from "../support/workflow-file.ts";

/** Matches text that can only be the name of a workflow file. */
const WORKFLOW_FILE = /\.ya?ml$/;

export default command({
  meta: { name: "validate", description: "Check workflow files; needs no principal" },
  args: {
    strict: { type: "boolean", description: "Warnings count as errors, and there are more of them" },
    ...jsonArg,
  },
  extras: {
    exit: { 4: "A file is invalid or missing, or has a warning with --strict" },
    restDescription: "A workflow file, or a directory to search for them (default: CDKTR_WORKFLOW_DIR)",
    completes: { path: "file" },
    rest: "PATH",
    details: `PATH is a workflow file, or a directory that is searched for them; without one, CDKTR_WORKFLOW_DIR is.

      All that is wrong with each file is shown: the place, the line, what to do. The exit status is 0 when
      every file is valid and 4 when one is not, so it fits into a commit hook or CI. Warnings
      do not count, unless --strict is given, which also warns of parameters and outputs that nobody uses.

      A file _cdktr.yml has the settings of its directory: it is checked as such, and its defaults apply to
      the workflows below it. A file with query: below the directory alerts is an alert file; 'cdktr alerts check'
      also runs its query.

      Files are also checked against each other: "on: workflow" that names no workflow of the directory, and
      workflows that run after each other in a circle; tasks of kind !Workflow whose workflow or parameters do not
      exist.`,
    examples: [
      { command: "cdktr workflow validate workflows/", does: "every workflow there" },
      { command: "cdktr workflow validate etl/daily.yml etl/hourly.yml", does: "two files" },
    ],
    topic: "workflows",
  },
  async run({ args }) {
    const workflowDirectory = resolve(settings(undefined).values.CDKTR_WORKFLOW_DIR);
    const given = args._.length === 0 ? [relative(process.cwd(), workflowDirectory) || "."] : args._;
    const files = await findFiles(given, workflowDirectory);
    const checked = await checkFiles(files, knownIds(files, given, workflowDirectory), args.strict === true);
    const invalid = checked.filter((file) => !file.valid).length;
    const warnings = checked.flatMap((file) => file.diagnostics).filter(isWarning).length;

    if (args.json) {
      await printJson({ files: checked.length, invalid, warnings, results: checked });
    } else {
      const color = styleFor("stdout").enabled;
      for (const diagnostic of mergeRepeated(checked.flatMap(({ diagnostics }) => diagnostics))) {
        await printLine(renderDiagnostic(diagnostic, { color }));
      }
      const parts = [
        plural(checked.length, "file"),
        invalid === 0 ? "all valid" : `${invalid} invalid`,
        ...(warnings === 0 ? [] : [plural(warnings, "warning")]),
      ];
      say(parts.join(", "));
    }
    return invalid === 0 && !(args.strict && warnings > 0) ? 0 : 4;
  },
});

/** The result of checking a file; the `results` of `--json`. */
interface Checked {
  readonly path: string;
  readonly workflow_id: string | null;
  readonly valid: boolean;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * The files to check: those named, and all workflow files in the directories named. Ids are relative to the workflow directory
 * for files inside it, otherwise to the named directory or that of the named file.
 */
async function findFiles(given: readonly string[], workflowDirectory: string): Promise<FilePlace[]> {
  const found = new Map<string, FilePlace>();
  const add = (root: string, relativePath: string, shown: string): void => {
    const absolute = join(root, relativePath);
    if (!found.has(absolute)) found.set(absolute, placeBelow(root, relativePath, shown, workflowDirectory));
  };
  for (const path of given) {
    const absolute = resolve(path);
    const info = await stat(absolute).catch((error: unknown) => {
      if (isMissing(error) || WORKFLOW_FILE.test(path)) return null;
      throw new NotFoundError(`${path} cannot be read: ${whyUnreadable(error)}.`);
    });
    if (info === null && !WORKFLOW_FILE.test(path)) {
      throw new NotFoundError(`There is no file or directory ${path}.`, {
        hint: "Give workflow files or directories; without any, CDKTR_WORKFLOW_DIR is searched.",
      });
    }
    if (info === null || !info.isDirectory()) {
      // A missing file is reported like any other that cannot be read.
      add(dirname(absolute), basename(absolute), path);
      continue;
    }
    const { files, unreadable } = listTree(absolute, { endings: WORKFLOW_ENDINGS });
    for (const file of files.keys()) add(absolute, file, join(path, file));
    for (const [directory, reason] of unreadable) {
      say(`${join(path, directory)} cannot be read and is skipped: ${reason}`);
    }
  }
  if (found.size === 0) {
    throw new NotFoundError(`There are no workflow files in ${given.join(", ")}.`, {
      hint: "Workflow files end in .yml or .yaml.",
    });
  }
  return [...found.values()];
}

/**
 * The ids of all workflows below each root, which "on: workflow" may refer to. Roots of which only some files were given are left out,
 * except for the workflow directory.
 */
function knownIds(
  files: readonly FilePlace[],
  given: readonly string[],
  workflowDirectory: string,
): Map<string, ReadonlySet<string>> {
  const known = new Map<string, ReadonlySet<string>>();
  const whole = new Set([workflowDirectory, ...given.map((path) => resolve(path))]);
  for (const root of new Set(files.map((file) => file.root))) {
    if (!whole.has(root)) continue;
    let listing: TreeListing;
    try {
      listing = listTree(root, { endings: WORKFLOW_ENDINGS });
    } catch {
      continue;
    }
    if (listing.unreadable.size > 0) continue;
    const paths = [...listing.files.keys()].filter((path) => !isSettingsFile(path));
    known.set(root, new Set(paths.flatMap((path) => workflowIdOrNull(path) ?? [])));
  }
  return known;
}

/** What is wrong with an alert file; undefined if the file is none. */
function checkAlertFile(
  { root, relativePath, shown }: FilePlace,
  settings: SettingsFiles,
): Checked | undefined {
  const result = loadAlertFile(root, relativePath, alertPathOf(root, relativePath), shown);
  if (result === undefined) return undefined;
  const checked = { path: shown, workflow_id: null, valid: result.ok };
  if (!result.ok || result.source === null)
    return { ...checked, diagnostics: result.ok ? result.warnings : result.diagnostics };
  const channels = settings.channelsOf(root);
  // Those of the directory that the file is meant for are not known otherwise.
  const problems =
    isAlertPath(relativePath) && channels !== undefined ? checkTold(result.alert.to, channels) : [];
  const found = locateCallProblems(problems, result.source, shown);
  return { ...checked, diagnostics: [...result.warnings, ...found] };
}

/** The path of what may be an alert file, from its directory on; the root may be that directory itself, or one below it. */
function alertPathOf(root: string, relativePath: string): string {
  if (isAlertPath(relativePath)) return relativePath;
  const parts = join(root, relativePath).split("/");
  const at = parts.lastIndexOf("alerts");
  return at < 0 ? relativePath : parts.slice(at).join("/");
}

async function checkFiles(
  given: readonly FilePlace[],
  known: ReadonlyMap<string, ReadonlySet<string>>,
  isStrict: boolean,
): Promise<Checked[]> {
  const settings = new SettingsFiles();
  const ofAlerts = given.map((file) => checkAlertFile(file, settings));
  const files = given.filter((_, n) => ofAlerts[n] === undefined);
  const duplicates = new Map<string, Diagnostic>();
  for (const [root, members] of Map.groupBy(files, (file) => file.root)) {
    const shown = new Map(members.map((file) => [file.relativePath, file.shown]));
    for (const found of findDuplicateIds(shown.keys())) {
      const path = shown.get(found.path) ?? found.path;
      duplicates.set(
        join(root, found.path),
        fileDiagnostic(path, found.code, found.message, found.help ?? undefined),
      );
    }
  }
  const loaded = [];
  const checked = ofAlerts.filter((each) => each !== undefined);
  const told = new Set(files.map(({ root, relativePath }) => join(root, relativePath)));
  for (const file of files) {
    const { root, relativePath, shown } = file;
    if (isSettingsFile(relativePath)) {
      const result = settings.check(root, relativePath, shown);
      const diagnostics = result.ok ? result.warnings : result.diagnostics;
      const problems =
        result.ok && !relativePath.includes("/") ? settings.calendarsOf(root, Date.now()).problems : [];
      const ofFiles = problems.map((each) => ({ ...each, path: join(dirname(shown), each.path) }));
      const valid = result.ok && problems.length === 0;
      checked.push({ path: shown, workflow_id: null, valid, diagnostics: [...diagnostics, ...ofFiles] });
      continue;
    }
    for (const [path, diagnostics] of settings.invalidAbove(root, relativePath)) {
      const absolute = join(root, path);
      if (told.has(absolute)) continue;
      told.add(absolute);
      // None of the files that were named, but without it this one is not loaded.
      const above = relative(process.cwd(), absolute) || absolute;
      const placed = diagnostics.map((each) => ({ ...each, path: above }));
      checked.push({ path: above, workflow_id: null, valid: false, diagnostics: placed });
    }
    const defaults = settings.defaultsOf(root, relativePath);
    const result = loadWorkflowFile(root, relativePath, { displayPath: shown, defaults });
    loaded.push({ ...file, result });
  }
  const across = new Map(
    [...Map.groupBy(loaded, (file) => file.root)].map(([root, members]) => {
      const definitions = members.flatMap(({ result }) => (result.ok ? result.definition : []));
      const ids = known.get(root) ?? null;
      const callers = definitions.map((each) => ({
        id: each.id,
        params: each.params,
        concurrency: each.concurrency,
        calls: callsOf(each) ?? [],
      }));
      const [calls, groups] = [checkCalls(callers, ids), checkGroups(callers)];
      return [root, { chains: checkChains(definitions, ids), calls, groups }];
    }),
  );
  for (const { root, relativePath, shown, result } of loaded) {
    const duplicate = duplicates.get(join(root, relativePath));
    const chain = result.ok ? across.get(root)?.chains.get(result.definition.id) : undefined;
    const { calls: ofCalls, groups } = across.get(root) ?? {};
    const now = Date.now();
    const { calendars } = settings.calendarsOf(root, now);
    const channels = settings.channelsOf(root);
    const calls = result.ok
      ? [
          ...(ofCalls?.get(result.definition.id) ?? []),
          ...(groups?.get(result.definition.id) ?? []),
          ...checkCalendars(result.definition.schedules, calendars),
          ...checkDays(result.definition.schedules, calendars, now),
          ...checkPools(result.definition, settings.poolsOf(root)),
          ...(channels === undefined ? [] : checkNotify(result.definition.notify, channels)),
        ]
      : [];
    const diagnostics = [
      ...(duplicate === undefined ? [] : [duplicate]),
      ...(result.ok ? result.warnings : result.diagnostics),
      ...(isStrict && result.ok && result.source !== null
        ? unusedIn(result.definition, result.source, shown)
        : []),
      ...(chain === undefined || result.source === null
        ? []
        : locateChainProblem(chain, result.source, shown)),
      ...(calls.length === 0 || result.source === null
        ? []
        : locateCallProblems(calls, result.source, shown)),
    ];
    checked.push({
      path: shown,
      workflow_id: result.ok ? result.definition.id : null,
      valid: result.ok && duplicate === undefined,
      diagnostics,
    });
  }
  return checked;
}

function isWarning(diagnostic: Diagnostic): boolean {
  return diagnostic.severity === "warning";
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
