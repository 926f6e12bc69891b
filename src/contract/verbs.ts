/**
 * The verbs of the principal's API. The first group is the wire format of existing clients and takes positional fields;
 * the second takes one JSON field (see messages.ts).
 */
export const POSITIONAL_VERBS = [
  "PING",
  "LSWORKFLOWS",
  "RUNTASK",
  "REGISTERAGENT",
  "FETCHWORKFLOW",
  "AGENTWORKFLOWSTATUS",
  "AGENTTASKSTATUS",
  "QUERYLOGS",
  "GETRECENTSTATUSES",
  "GETREGISTEREDAGENTS",
] as const;

export const JSON_VERBS = [
  "PRINCIPALINFO",
  "JOIN",
  "GETWORKFLOW",
  "WATCHWORKFLOWS",
  "LSRUNS",
  "GETRUN",
  "WAITRUN",
  "CANCELRUN",
  "RETRYRUN",
  "SEARCHLOGS",
  "ISSUBSCRIBED",
  "LSEVENTS",
  "LSFOLLOWUPS",
  "REPORTLISTENERS",
  "LSLISTENERS",
  "DRAINAGENT",
  "AGENTHEARTBEAT",
  "AGENTREPORT",
  "QUERYDB",
  "EXPORTDB",
  "BACKUPDB",
  "READFILE",
  "DROPFILES",
] as const;

export type Verb = (typeof POSITIONAL_VERBS)[number] | (typeof JSON_VERBS)[number];

const VERBS: ReadonlySet<string> = new Set([...POSITIONAL_VERBS, ...JSON_VERBS]);

/** Whether a principal knows `text` as a verb. */
export function isVerb(text: string): text is Verb {
  return VERBS.has(text);
}
