/**
 * The JSON of requests and replies, by subject. Field names are those of the database.
 * Schemas of what comes in are loose about additions (a newer peer may say more) and strict about types and lengths.
 * Which verb takes and answers what is in verbs.ts.
 */
export * from "./messages/agents.ts";
export * from "./messages/history.ts";
export * from "./messages/listeners.ts";
export * from "./messages/logs.ts";
export * from "./messages/principal.ts";
export * from "./messages/runs.ts";
export * from "./messages/workflows.ts";
