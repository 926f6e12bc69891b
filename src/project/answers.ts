/** What the wizard has to know, whoever says it: flags, defaults, or a person. */
import type { CrontabImport } from "./crontab/import-crontab.ts";

/** What a project is for. */
export const KINDS = ["try", "principal", "agent"] as const;
export type Kind = (typeof KINDS)[number];

/** The three ports of a principal. */
export interface Ports {
  readonly api: number;
  readonly logsListening: number;
  readonly logsPublishing: number;
}

/** A service of systemd. */
export interface ServiceAnswer {
  /** Of this user; else of the host. */
  readonly user: boolean;
  /** Whom a service of the host runs as. */
  readonly runAs: string;
}

interface CommonAnswers {
  /** Absolute. */
  readonly directory: string;
  /** As `.env` says it: relative to the project, or absolute for a service of the host. */
  readonly dataDirectory: string;
  readonly service: ServiceAnswer | undefined;
}

/** A project with a principal: `try` is one on loopback with an agent beside it. */
export interface PrincipalAnswers extends CommonAnswers {
  readonly kind: "try" | "principal";
  /** The address to bind. */
  readonly host: string;
  readonly ports: Ports;
  /** Relative to the project. */
  readonly workflowDirectory: string;
  readonly keys: boolean;
  readonly withAgent: boolean;
  readonly example: boolean;
  readonly crontab: CrontabAnswer | undefined;
}

/** An imported crontab. */
export interface CrontabAnswer {
  readonly imported: CrontabImport;
  /** Nobody but its owner could read it: the files that come of it are like that too. */
  readonly isPrivate: boolean;
}

/** A project of an agent for a principal elsewhere. */
export interface AgentAnswers extends CommonAnswers {
  readonly kind: "agent";
  readonly principal: { readonly host: string; readonly port: number };
  /** Where it delivers log lines; undefined when its key will say so. */
  readonly logsListeningPort: number | undefined;
  /** The principal has said so itself. */
  readonly principalAnswered: boolean;
  /** Runs at once. */
  readonly concurrency: number;
  readonly labels: Readonly<Record<string, string>>;
}

export type Answers = PrincipalAnswers | AgentAnswers;

/** The data directory inside a project. */
export const PROJECT_DATA = ".cdktr";
/** The JSON Schema of workflow files inside a project. */
export const SCHEMA_PATH = ".cdktr/workflow.schema.json";
/** Where imported jobs go inside the workflow directory: their ids begin with `cron.`. */
export const IMPORT_DIRECTORY = "cron";
/** The report on an import. */
export const REPORT_PATH = "crontab-import.md";
