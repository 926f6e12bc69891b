/** Generates the files of a project from the answers. */
import { posix } from "node:path";
import { parseEnv } from "node:util";
import { CUSTOM_TAGS, settingsJsonSchema, workflowJsonSchema } from "../workflow/json-schema.ts";
import {
  type Answers,
  IMPORT_DIRECTORY,
  PROJECT_DATA,
  type PrincipalAnswers,
  REPORT_PATH,
  SCHEMA_PATH,
} from "./answers.ts";
import { importReport } from "./crontab/import-report.ts";
import { withChannels } from "./crontab/mail-channels.ts";
import { type DotenvValues, dotenvText, mergeDotenv } from "./dotenv.ts";
import {
  EDITOR_SETTINGS_PATH,
  editorSettings,
  SETTINGS_SCHEMA_PATH,
  withEditorSettings,
} from "./editor-settings.ts";
import { DEFAULT_PORTS } from "./ports.ts";

/** A file of a project. */
export interface ProjectFile {
  /** Relative to the project. */
  readonly path: string;
  readonly mode: number;
  /** A short description. */
  readonly what: string;
  /** Generates its text, given the existing one. */
  text(current: string | undefined): string;
  /** It is only added to: all that it has stays. */
  readonly isExtended?: boolean;
}

const IGNORED = ["/.cdktr/*", "!/.cdktr/workflow.schema.json", "/.env"];
/** Keeps keys out of git even where the project's own .gitignore was kept. */
const DATA_IGNORE = `# cdktr's state, history and keys belong to this host and must not be committed.
*
!.gitignore
!workflow.schema.json
`;

/** All files of a project. */
export function projectFiles(answers: Answers): ProjectFile[] {
  const settings = settingsOf(answers);
  const unasked = unaskedSettings(answers);
  // It holds no secrets, and the user of a system service must be able to read it.
  const files: ProjectFile[] = [
    {
      path: ".env",
      mode: isHostService(answers) ? 0o644 : 0o600,
      what: "settings",
      text: (current) => {
        if (current === undefined) return dotenvText({ ...settings, ...unasked });
        const present = parseEnv(current);
        const missing = Object.entries(unasked).filter(([name]) => present[name] === undefined);
        return mergeDotenv(current, { ...settings, ...Object.fromEntries(missing) });
      },
    },
    { path: ".gitignore", mode: 0o644, what: "keeps state and keys out of git", text: gitignore },
  ];
  const fixed = (path: string, what: string, text: string, mode = 0o644) =>
    files.push({ path, mode, what, text: () => text });
  fixed(`${PROJECT_DATA}/.gitignore`, "the same, independent of the other one", DATA_IGNORE);
  if (answers.kind === "agent") return files;
  const { workflowDirectory, crontab } = answers;
  fixed(
    SCHEMA_PATH,
    "the schema of workflow files, for editors",
    `${JSON.stringify(workflowJsonSchema(), null, 2)}\n`,
  );
  if (answers.editor !== undefined) {
    fixed(
      SETTINGS_SCHEMA_PATH,
      "the schema of _cdktr.yml, for editors",
      `${JSON.stringify(settingsJsonSchema(), null, 2)}\n`,
    );
    files.push({
      path: EDITOR_SETTINGS_PATH,
      mode: 0o644,
      what: "VS Code: completion and checks of workflow files",
      text: (current) => withEditorSettings(current, editorSettings(workflowDirectory)) ?? current ?? "",
      isExtended: true,
    });
  }
  if (answers.example)
    fixed(`${workflowDirectory}/hello.yml`, "an example workflow", exampleWorkflow(answers));
  if (crontab !== undefined) {
    const mode = crontab.isPrivate ? 0o600 : 0o644;
    const directory = posix.join(workflowDirectory, IMPORT_DIRECTORY);
    const { channels } = crontab.imported;
    if (channels.length > 0)
      files.push({
        path: posix.join(workflowDirectory, "_cdktr.yml"),
        mode: 0o644,
        what: "where mail of the jobs goes",
        text: (current) => withChannels(current, channels),
        isExtended: true,
      });
    for (const { file, text, line, disabled } of crontab.imported.workflows) {
      fixed(
        posix.join(directory, file),
        `line ${line}${disabled ? ", which was commented out" : ""}`,
        text,
        mode,
      );
    }
    fixed(REPORT_PATH, "what became of each line", importReport(crontab.imported, directory), mode);
  }
  return files;
}

/** Whether a system service runs it: then the state is in the unit's state directory. */
export function isHostService({ service }: Answers): boolean {
  return service !== undefined && !service.user;
}

/** The content of `.env`. */
function settingsOf(answers: Answers): DotenvValues {
  const data = { CDKTR_APP_DATA_DIRECTORY: answers.dataDirectory };
  if (answers.kind === "agent") {
    return {
      CDKTR_PRINCIPAL_HOST: answers.principal.host,
      CDKTR_PRINCIPAL_PORT: String(answers.principal.port),
      ...(answers.logsListeningPort === undefined
        ? {}
        : { CDKTR_LOGS_LISTENING_PORT: String(answers.logsListeningPort) }),
      CDKTR_AGENT_MAX_CONCURRENCY: String(answers.concurrency),
      ...data,
    };
  }
  const { host, ports, workflowDirectory } = answers;
  return {
    CDKTR_PRINCIPAL_HOST: host,
    CDKTR_PRINCIPAL_PORT: String(ports.api),
    CDKTR_LOGS_LISTENING_PORT: String(ports.logsListening),
    CDKTR_LOGS_PUBLISHING_PORT: String(ports.logsPublishing),
    CDKTR_WORKFLOW_DIR: workflowDirectory,
    ...data,
  };
}

/** Settings that are not asked for: next to another principal the remaining ports must differ too. */
function unaskedSettings(answers: Answers): DotenvValues {
  if (answers.kind === "agent" || answers.ports.api === DEFAULT_PORTS.api) return {};
  const last = Math.max(...Object.values(answers.ports));
  return last > 65_533 ? {} : { CDKTR_WEBHOOK_PORT: String(last + 1), CDKTR_METRICS_PORT: String(last + 2) };
}

/** Relative path from a file in a directory of the project to the schema. */
export function schemaFrom(directory: string): string {
  return posix.relative(directory, SCHEMA_PATH);
}

function gitignore(current: string | undefined): string {
  const head = "# cdktr: state, history and keys, and the settings of this host\n";
  if (current === undefined) return `${head}${IGNORED.join("\n")}\n`;
  const present = new Set(current.split("\n").map((line) => line.trim()));
  const missing = IGNORED.filter((line) => !present.has(line));
  if (missing.length === 0) return current;
  const gap = current === "" || current.endsWith("\n") ? "" : "\n";
  return `${current}${gap}${head}${missing.join("\n")}\n`;
}

function exampleWorkflow({ workflowDirectory }: PrincipalAnswers): string {
  return `# yaml-language-server: $schema=${schemaFrom(workflowDirectory)}
# (in the editor's settings, for the tags: yaml.customTags ${CUSTOM_TAGS})
# This file's id is "hello", from its path. Run it: cdktr run hello --follow
name: Hello
description: Two tasks, one after the other.
# cron: "0 0 8 * * MON-FRI"   # fires on this schedule; the first field is the second
params:
  whom: world
tasks:
  greet:
    run: echo "Hello, $CDKTR_PARAM_WHOM, from $(uname -n)"
  count:
    depends: [greet]
    retry: { max_attempts: 2, delay: 5s }
    run: |
      for i in 1 2 3; do
        echo $i
        sleep 0.2
      done
`;
}
