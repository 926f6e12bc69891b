/** From the text of a workflow file to its definition, or to everything that is wrong with it. */

import { nearest } from "../terminal/did-you-mean.ts";
import { checkTasks } from "./check-tasks.ts";
import { type Diagnostic, type Finding, fileDiagnostic, locate } from "./diagnostic.ts";
import { TASK_TAGS, type TaskFile, VARIABLE_NAME, WorkflowFile } from "./file-schema.ts";
import { findingsOfIssues, type IssuePath, nodeAt, placeOf } from "./issues.ts";
import {
  IDENTIFIER,
  type TaskDefinition,
  type TriggerDefinitions,
  type WorkflowDefinition,
} from "./model.ts";
import { isOwnVariable, paramVariable } from "./params.ts";
import { NO_RETRY } from "./retry.ts";
import { SourceText } from "./source-text.ts";
import { type Located, readYaml, TAG_KEY } from "./yaml-tree.ts";

/** The largest file that is read, in bytes of UTF-8. */
export const MAX_FILE_BYTES = 1024 * 1024;

/** More problems than these are counted only: each costs a look at its line, and nobody reads on. */
const MAX_DIAGNOSTICS = 200;

/** The outcome of reading a workflow file. */
export type ParseResult =
  | { readonly ok: true; readonly definition: WorkflowDefinition; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** Where a text comes from: the path for messages, and the id that the path gives. */
export interface ParseSource {
  readonly path: string;
  readonly id: string;
}

/**
 * Reads and checks the text of a workflow file. Never throws: whatever is wrong comes back as diagnostics, all of
 * them at once, in the order of the text. A text that is not YAML has its syntax errors alone; warnings are among the
 * errors; beyond 200 the rest is counted (`E099`).
 */
export function parseWorkflow(text: string, source: ParseSource): ParseResult {
  const body = text.startsWith("\ufeff") ? text.slice(1) : text;
  const sourceText = new SourceText(body);
  const fail = (findings: readonly Finding[]): ParseResult => {
    const all = unique(findings);
    const diagnostics = locate(all.slice(0, MAX_DIAGNOSTICS), sourceText, source.path);
    const more = all.length - diagnostics.length;
    if (more > 0) diagnostics.push(fileDiagnostic(source.path, "E099", `and ${more} more problems`));
    return { ok: false, diagnostics };
  };

  const unreadable = rawFindings(body);
  if (unreadable.length > 0) return fail(unreadable);
  const { root, findings } = readYaml(body);
  if (root === null || root.value === null) {
    if (findings.length > 0) return fail(findings);
    return fail([
      {
        code: "E006",
        message: "the file is empty",
        help: "a workflow needs at least a name and tasks",
        start: 0,
        end: 0,
      },
    ]);
  }

  findings.push(...checkTags(root), ...checkNames(root), ...checkTasks(root), ...checkAfter(root, source.id));
  const checked = WorkflowFile.safeParse(root.value);
  if (!checked.success) {
    const hasNoTasks = findings.some((finding) => finding.code === "E013");
    const issues = checked.error.issues.filter((issue) => !(hasNoTasks && issue.path.join() === "tasks"));
    findings.push(...findingsOfIssues(issues, root));
  }
  const warnings = checked.success ? checkEffects(checked.data, root) : [];
  const all = [...findings, ...warnings];
  if (!checked.success || all.some((finding) => finding.code.startsWith("E"))) return fail(all);
  return {
    ok: true,
    definition: definitionOf(checked.data, source.id, taskOrder(root)),
    warnings: locate(unique(all), sourceText, source.path),
  };
}

/** What can be said before the text is read as YAML. */
function rawFindings(text: string): Finding[] {
  if (text.length > MAX_FILE_BYTES || Buffer.byteLength(text) > MAX_FILE_BYTES) return [tooLarge()];
  const findings: Finding[] = [];
  for (const match of text.matchAll(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g)) {
    const code = match[0].charCodeAt(0).toString(16).padStart(2, "0");
    findings.push({
      code: "E009",
      message: `a control character (0x${code}) stands here`,
      help: `remove it; in a text in double quotes it can be written as "\\x${code}"`,
      start: match.index,
      end: match.index + 1,
    });
    if (findings.length >= 20) break;
  }
  return findings;
}

/** The finding for a file beyond `MAX_FILE_BYTES`. */
export function tooLarge(): Finding {
  return {
    code: "E005",
    message: "the file is larger than 1 MiB",
    help: "keep data out of workflow files; put scripts into files of their own",
    start: 0,
    end: 1,
  };
}

/** Tags: each config has a known one, and nothing else has any. Wrong ones are taken out of the values. */
function checkTags(root: Located): Finding[] {
  const findings: Finding[] = [];
  const visit = (node: Located, path: IssuePath): void => {
    const isConfig = path.length === 3 && path[0] === "tasks" && path[2] === "config";
    if (node.tag !== null && !isConfig) {
      delete (node.value as Record<string, unknown>)[TAG_KEY];
      findings.push({
        code: "E021",
        message: `the tag !${node.tag.name} does not belong here`,
        help: "tags stand on the mapping under config: of a task, and nowhere else",
        start: node.tag.start,
        end: node.tag.end,
      });
    } else if (node.tag !== null && !TASK_TAGS.some((tag) => tag === node.tag?.name)) {
      const near = nearest(node.tag.name, TASK_TAGS);
      const known = TASK_TAGS.map((tag) => `!${tag}`).join(" and ");
      findings.push({
        code: "E021",
        message: `there is no kind of task !${node.tag.name}`,
        help: near === undefined ? `the kinds are ${known}` : `did you mean "!${near}"?`,
        start: node.tag.start,
        end: node.tag.end,
      });
    } else if (isConfig && node.tag === null && isMapping(node.value)) {
      const keys = Object.keys(node.value);
      const likely = keys.some((key) => ["script_path", "packages", "is_uv_project", "uv_path"].includes(key))
        ? "UvPython"
        : keys.includes("cmd")
          ? "Subprocess"
          : null;
      findings.push({
        code: "E020",
        message: `config of task "${String(path[1])}" has no tag`,
        help:
          likely === null
            ? `say what kind of task it is: ${TASK_TAGS.map((tag) => `!${tag}`).join(" or ")}`
            : `write "config: !${likely}", or the tag alone on the next line`,
        ...placeOf(root, path),
      });
    }
    for (const [key, child] of node.children) visit(child.node, [...path, key]);
  };
  visit(root, []);
  return findings;
}

/** The names that people choose: ids of tasks, environment variables, parameters. */
function checkNames(root: Located): Finding[] {
  const findings: Finding[] = [];
  const check = (path: IssuePath, problem: (name: string) => Omit<Finding, "start" | "end"> | null): void => {
    const node = nodeAt(root, path);
    if (node === null || !isMapping(node.value)) return;
    for (const [key, child] of node.children) {
      const found = problem(String(key));
      if (found !== null) findings.push({ ...found, ...(child.key ?? child.node) });
    }
  };

  check(["tasks"], (name) =>
    IDENTIFIER.test(name) && name.length <= 200
      ? null
      : {
          code: "E050",
          message: `${quote(name)} is not a legal id of a task`,
          help: "use letters, digits, _, - and ., start with a letter, a digit or _, and stay below 200 characters",
        },
  );
  const env = (name: string): Omit<Finding, "start" | "end"> | null => {
    if (!VARIABLE_NAME.test(name)) {
      return {
        code: "E053",
        message: `${quote(name)} is not a legal name of an environment variable`,
        help: "use letters, digits and _, and do not start with a digit",
      };
    }
    if (isOwnVariable(name)) {
      return { code: "E053", message: `${name} is set by cdktr itself`, help: "choose another name" };
    }
    return null;
  };
  check(["env"], env);
  for (const id of nodeAt(root, ["tasks"])?.children.keys() ?? []) check(["tasks", id, "env"], env);

  const variables = new Map<string, string>();
  check(["params"], (name) => {
    if (!VARIABLE_NAME.test(name)) {
      return {
        code: "E054",
        message: `${quote(name)} is not a legal name of a parameter`,
        help: "use letters, digits and _, and do not start with a digit",
      };
    }
    const other = variables.get(name.toUpperCase());
    variables.set(name.toUpperCase(), name);
    if (other === undefined) return null;
    return {
      code: "E054",
      message: `the parameters "${other}" and "${name}" differ only in case`,
      help: `tasks find both as ${paramVariable(name)}; rename one`,
    };
  });
  return findings;
}

/** A workflow that runs after itself would never stop. */
function checkAfter(root: Located, id: string): Finding[] {
  const node = nodeAt(root, ["on", "workflow", "id"]);
  if (node?.value !== id) return [];
  return [
    {
      code: "E014",
      message: "a workflow cannot run after itself",
      help: "name another workflow",
      start: node.start,
      end: node.end,
    },
  ];
}

/** What is legal but does nothing. */
function checkEffects(file: WorkflowFile, root: Located): Finding[] {
  const findings: Finding[] = [];
  const warn = (path: IssuePath, message: string, help: string): void => {
    findings.push({ code: "W002", message, help, ...placeOf(root, path) });
  };
  if (file.cron === null) {
    for (const key of ["timezone", "start_time", "catchup"]) {
      if (isMapping(root.value) && root.value[key] !== undefined && root.value[key] !== null) {
        warn([key], `"${key}" has no effect without cron`, "add a cron, or remove it");
      }
    }
  }
  for (const [id, task] of Object.entries(file.tasks)) {
    const { config } = task;
    if (config[TAG_KEY] === "UvPython" && config.is_uv_project && config.packages.length > 0) {
      warn(
        ["tasks", id, "config", "packages"],
        `"packages" has no effect in a uv project`,
        "name the packages in the pyproject.toml of the project",
      );
    }
  }
  return findings;
}

/** Ids as the file has them: a JavaScript object would put those that are numbers first. */
function taskOrder(root: Located): string[] {
  return [...(nodeAt(root, ["tasks"])?.children.keys() ?? [])].map(String);
}

function definitionOf(file: WorkflowFile, id: string, order: readonly string[]): WorkflowDefinition {
  return {
    id,
    name: file.name,
    description: file.description,
    cron: file.cron,
    timezone: file.timezone,
    start_time_ms: file.start_time,
    catchup: file.catchup,
    ...(file.on === null ? {} : { on: triggersOf(file.on) }),
    failover: file.failover,
    timeout_ms: file.timeout,
    env: { ...file.env },
    params: { ...file.params },
    tasks: order.flatMap((taskId) => {
      const task = file.tasks[taskId];
      return task === undefined ? [] : [taskOf(taskId, task)];
    }),
  };
}

function triggersOf({ webhook, file, workflow }: NonNullable<WorkflowFile["on"]>): TriggerDefinitions {
  return {
    webhook:
      webhook === null
        ? null
        : {
            path: webhook.path,
            secret: webhook.secret,
            method: webhook.method,
            tolerance_ms: webhook.tolerance,
          },
    file:
      file === null
        ? null
        : {
            glob: file.glob,
            events: [...new Set(file.events)],
            settle_ms: file.settle,
            catchup: file.catchup,
          },
    workflow: workflow === null ? null : { id: workflow.id, status: [...new Set(workflow.status)] },
  };
}

function taskOf(id: string, task: TaskFile): TaskDefinition {
  const { config, retry } = task;
  return {
    id,
    name: task.name,
    description: task.description,
    depends: [...new Set(task.depends)],
    config:
      config[TAG_KEY] === "Subprocess"
        ? {
            type: "Subprocess",
            cmd: config.cmd,
            args: [...config.args],
            working_directory: config.working_directory,
          }
        : {
            type: "UvPython",
            script_path: config.script_path,
            args: [...config.args],
            packages: [...config.packages],
            is_uv_project: config.is_uv_project,
            working_directory: config.working_directory,
            uv_path: config.uv_path,
          },
    retry:
      retry === null
        ? NO_RETRY
        : { max_attempts: retry.max_attempts, delay_ms: retry.delay, backoff: retry.backoff },
    timeout_ms: task.timeout,
    env: { ...task.env },
  };
}

/** In the order of the text, and the same thing said once: aliases let the reader pass the same place more than once. */
function unique(findings: readonly Finding[]): Finding[] {
  const seen = new Set<string>();
  const ordered = [...findings].sort((a, b) => a.start - b.start);
  return ordered.filter((finding) => {
    const key = `${finding.start} ${finding.code} ${finding.message}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
