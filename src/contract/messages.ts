/**
 * The schemas of requests and replies, by subject; verbs.ts says which verb has which. Field names are those of the database.
 * Unknown fields are ignored, because a newer peer may send more; types and lengths are strict.
 */
export * from "./messages/agents.ts";
export * from "./messages/alert-queries.ts";
export * from "./messages/alerts.ts";
export * from "./messages/approvals.ts";
export * from "./messages/audit.ts";
export * from "./messages/backfills.ts";
export * from "./messages/blobs.ts";
export * from "./messages/channels.ts";
export * from "./messages/expectations.ts";
export * from "./messages/forecast.ts";
export * from "./messages/history.ts";
export * from "./messages/listeners.ts";
export * from "./messages/logs.ts";
export * from "./messages/pauses.ts";
export * from "./messages/principal.ts";
export * from "./messages/principals.ts";
export * from "./messages/queue.ts";
export * from "./messages/runs.ts";
export * from "./messages/secrets.ts";
export * from "./messages/workflows.ts";
