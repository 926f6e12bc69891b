/** The keys `secrets` of a workflow and of its tasks: where each secret is, and which variables of a task hold which. */
import { z } from "zod";
import { Block, Field, list, type NameCheck, named, VARIABLE_NAME, type ValueOf } from "./field.ts";
import type { TaskConfig } from "./kinds/index.ts";
import { filled, formed } from "./scalars.ts";

/** Names in the principal's store. */
export const STORED_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$/;

/** Where a secret can be. */
export const SECRET_WAYS = ["file", "env", "command", "store"] as const;

/** Where a secret is: exactly one of these. */
const Source = new Block({
  file: filled()
    .sparse()
    .describe("A file on the agent's host; a relative path starts at the agent's working directory"),
  env: formed(VARIABLE_NAME, "is not a name of an environment variable", "write the name without $")
    .sparse()
    .describe("A variable of the agent's environment, which its tasks do not see then"),
  command: list(filled(), { min: 1 })
    .sparse()
    .describe(
      "A program with its arguments that prints the secret on the agent's host; no shell is involved",
    ),
  store: formed(STORED_NAME, "is not a name of a secret", "use letters, digits, _, - and .")
    .sparse()
    .describe("A name in the principal's store, see cdktr secrets"),
});
export type SecretSource = ValueOf<typeof Source>;

/** The secrets of a workflow, by name. */
export const secretSources = (names: () => NameCheck) => named(VARIABLE_NAME, names, Source).sparse();

const Variables = z.record(z.string().meta({ pattern: VARIABLE_NAME.source }), filled().file);
const Names = list(filled(), { unique: true });

/** The secrets of a task: a list of names, or names by variable. Stored by variable. */
export const secretVariables = (names: () => NameCheck) =>
  new Field<Record<string, string>>(
    z
      .union([Names.file, Variables])
      .transform((given) =>
        Array.isArray(given) ? Object.fromEntries(given.map((name) => [name, name])) : given,
      ),
    z.record(z.string(), z.string()),
    { names, entry: filled(), noun: "a list of names" },
  ).sparse();

/** The variables of the agent that hold secrets of a workflow. */
export function variablesOf(secrets: Readonly<Record<string, SecretSource>> = {}): string[] {
  return Object.values(secrets).flatMap(({ env }) => (env === undefined ? [] : [env]));
}

/** A task, as far as its secrets are concerned. */
export interface UserOfSecrets {
  readonly secrets?: Readonly<Record<string, string>> | undefined;
  readonly config: TaskConfig;
}

/** The names of the secrets that a task uses: as variables, or in headers. */
export function secretsUsedBy({ secrets = {}, config }: UserOfSecrets): string[] {
  const headers = config.type === "Http" ? Object.values(config.headers ?? {}) : [];
  return [
    ...Object.values(secrets),
    ...headers.flatMap((header) => (typeof header === "string" ? [] : [header.secret])),
  ];
}

/** The names in the principal's store of the secrets that these tasks use. */
export function storedSecretsOf(
  { secrets }: { readonly secrets?: Readonly<Record<string, SecretSource>> | undefined },
  tasks: readonly UserOfSecrets[],
): string[] {
  if (secrets === undefined) return [];
  const used = new Set(tasks.flatMap(secretsUsedBy));
  const stored = [...used].map((name) => (Object.hasOwn(secrets, name) ? secrets[name]?.store : undefined));
  return [...new Set(stored.filter((name) => name !== undefined))];
}
