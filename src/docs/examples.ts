/** Workflows that people have, to start from: `cdktr docs examples`. */

import afterAnother from "./examples/after-another.yml" with { type: "text" };
import apiPoll from "./examples/api-poll.yml" with { type: "text" };
import backupDirectory from "./examples/backup-directory.yml" with { type: "text" };
import backupPostgres from "./examples/backup-postgres.yml" with { type: "text" };
import buildMatrix from "./examples/build-matrix.yml" with { type: "text" };
import canaryRelease from "./examples/canary-release.yml" with { type: "text" };
import certificateRenewal from "./examples/certificate-renewal.yml" with { type: "text" };
import dataQuality from "./examples/data-quality.yml" with { type: "text" };
import databaseMigration from "./examples/database-migration.yml" with { type: "text" };
import dayByDay from "./examples/day-by-day.yml" with { type: "text" };
import deploy from "./examples/deploy.yml" with { type: "text" };
import diskCleanup from "./examples/disk-cleanup.yml" with { type: "text" };
import dnsUpdate from "./examples/dns-update.yml" with { type: "text" };
import etlTables from "./examples/etl-tables.yml" with { type: "text" };
import everyHost from "./examples/every-host.yml" with { type: "text" };
import fileArrives from "./examples/file-arrives.yml" with { type: "text" };
import hello from "./examples/hello.yml" with { type: "text" };
import httpCheck from "./examples/http-check.yml" with { type: "text" };
import imageThumbnails from "./examples/image-thumbnails.yml" with { type: "text" };
import indexSearch from "./examples/index-search.yml" with { type: "text" };
import invoiceBatch from "./examples/invoice-batch.yml" with { type: "text" };
import logRotation from "./examples/log-rotation.yml" with { type: "text" };
import maintenanceWindow from "./examples/maintenance-window.yml" with { type: "text" };
import mirrorSync from "./examples/mirror-sync.yml" with { type: "text" };
import mlTraining from "./examples/ml-training.yml" with { type: "text" };
import monthEnd from "./examples/month-end.yml" with { type: "text" };
import morningFigures from "./examples/morning-figures.yml" with { type: "text" };
import nightly from "./examples/nightly.yml" with { type: "text" };
import oldScript from "./examples/old-script.yml" with { type: "text" };
import pythonAnalysis from "./examples/python-analysis.yml" with { type: "text" };
import reportMail from "./examples/report-mail.yml" with { type: "text" };
import restartService from "./examples/restart-service.yml" with { type: "text" };
import sharedDatabase from "./examples/shared-database.yml" with { type: "text" };
import sqlReport from "./examples/sql-report.yml" with { type: "text" };
import typescriptStep from "./examples/typescript-step.yml" with { type: "text" };
import userCleanup from "./examples/user-cleanup.yml" with { type: "text" };
import waitForFile from "./examples/wait-for-file.yml" with { type: "text" };
import warmCache from "./examples/warm-cache.yml" with { type: "text" };
import webhookBuild from "./examples/webhook-build.yml" with { type: "text" };

/** A workflow to start from. */
export interface WorkflowExample {
  /** Its name on the command line, and of its file. */
  readonly name: string;
  /** What it is for: the comment at its head. */
  readonly about: string;
  /** The file. */
  readonly text: string;
}

const FILES: Readonly<Record<string, string>> = {
  "after-another": afterAnother,
  "api-poll": apiPoll,
  "backup-directory": backupDirectory,
  "backup-postgres": backupPostgres,
  "build-matrix": buildMatrix,
  "canary-release": canaryRelease,
  "certificate-renewal": certificateRenewal,
  "data-quality": dataQuality,
  "database-migration": databaseMigration,
  "day-by-day": dayByDay,
  deploy,
  "disk-cleanup": diskCleanup,
  "dns-update": dnsUpdate,
  "etl-tables": etlTables,
  "every-host": everyHost,
  "file-arrives": fileArrives,
  hello,
  "http-check": httpCheck,
  "image-thumbnails": imageThumbnails,
  "index-search": indexSearch,
  "invoice-batch": invoiceBatch,
  "log-rotation": logRotation,
  "maintenance-window": maintenanceWindow,
  "mirror-sync": mirrorSync,
  "ml-training": mlTraining,
  "month-end": monthEnd,
  "morning-figures": morningFigures,
  nightly,
  "old-script": oldScript,
  "python-analysis": pythonAnalysis,
  "report-mail": reportMail,
  "restart-service": restartService,
  "shared-database": sharedDatabase,
  "sql-report": sqlReport,
  "typescript-step": typescriptStep,
  "user-cleanup": userCleanup,
  "wait-for-file": waitForFile,
  "warm-cache": warmCache,
  "webhook-build": webhookBuild,
};

/** All of them, by name. */
export const WORKFLOW_EXAMPLES: readonly WorkflowExample[] = Object.entries(FILES).map(exampleOf);

/** A file to start from; what it is for is in its first line. */
export function exampleOf([name, text]: readonly [string, string]): WorkflowExample {
  return { name, about: /^# (.+)$/m.exec(text)?.[1] ?? name, text };
}
