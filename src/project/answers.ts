/** The answers that the wizard needs, from flags, defaults, or a person. */
import type { CrontabImport } from "./crontab/import-crontab.ts";

export const KINDS = ["try", "principal", "agent"] as const;
export type Kind = (typeof KINDS)[number];

/** Editors that can be set up for workflow files. */
export const EDITORS = ["vscode"] as const;
export type Editor = (typeof EDITORS)[number];

/** The three ports of a principal. */
export interface Ports {
  readonly api: number;
  readonly logsListening: number;
  readonly logsPublishing: number;
}

/** A systemd service. */
export interface ServiceAnswer {
  /** A user service; otherwise a system service. */
  readonly user: boolean;
  /** The user that a system service runs as. */
  readonly runAs: string;
}

interface CommonAnswers {
  /** Absolute. */
  readonly directory: string;
  /** As in `.env`: relative to the project, or absolute for a system service. */
  readonly dataDirectory: string;
  readonly service: ServiceAnswer | undefined;
}

/** A project with a principal: `try` is a principal on loopback with an agent next to it. */
export interface PrincipalAnswers extends CommonAnswers {
  readonly kind: "try" | "principal";
  /** The address to bind to. */
  readonly host: string;
  readonly ports: Ports;
  /** Relative to the project. */
  readonly workflowDirectory: string;
  readonly keys: boolean;
  readonly withAgent: boolean;
  readonly example: boolean;
  readonly editor?: Editor | undefined;
  readonly crontab: CrontabAnswer | undefined;
}

/** An imported crontab. */
export interface CrontabAnswer {
  readonly imported: CrontabImport;
  /** Only its owner could read it, so the files made from it are private too. */
  readonly isPrivate: boolean;
}

/** A project of an agent for a principal on another host. */
export interface AgentAnswers extends CommonAnswers {
  readonly kind: "agent";
  readonly principal: { readonly host: string; readonly port: number };
  /** The port for log lines; undefined when it will come with the key. */
  readonly logsListeningPort: number | undefined;
  /** Whether the port was reported by the principal itself. */
  readonly principalAnswered: boolean;
  /** Maximum number of concurrent runs. */
  readonly concurrency: number;
  readonly labels: Readonly<Record<string, string>>;
}

export type Answers = PrincipalAnswers | AgentAnswers;

/** The data directory, relative to the project. */
export const PROJECT_DATA = ".cdktr";
/** The JSON Schema of workflow files, relative to the project. */
export const SCHEMA_PATH = ".cdktr/workflow.schema.json";
/** The subdirectory of the workflow directory for imported jobs: their ids begin with `cron.`. */
export const IMPORT_DIRECTORY = "cron";
/** The import report. */
export const REPORT_PATH = "crontab-import.md";
