/** Checks `secrets` of a workflow file: where each is, and whether what tasks use is declared. Never quotes what may be a secret itself. */
import { isLoopback } from "../host/addresses.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import { nodeAt, placeOf } from "./issues.ts";
import { SECRET_WAYS, secretsUsedBy, type UserOfSecrets } from "./secrets.ts";
import type { Located } from "./yaml-tree.ts";

const WAYS: readonly string[] = SECRET_WAYS;

/** Settings of cdktr, some of which are secrets that no task may see. */
const SETTING = /^CDKTR_/;

/** Checks the secrets as far as they can be read, whatever else is wrong with the file. */
export function checkSecrets(root: Located): Finding[] {
  const findings: Finding[] = [];
  const declared = nodeAt(root, ["secrets"]);
  for (const [key, child] of declared?.children ?? []) {
    if (typeof key !== "string") continue;
    const finding = checkSource(key, child.node);
    if (finding !== null) findings.push({ ...finding, ...placeOf(root, ["secrets", key]) });
  }
  const names = [...(declared?.children.keys() ?? [])].map(String);
  for (const { user, node } of usersIn(root)) findings.push(...checkUser(user, node, names));
  return findings;
}

/** Warns about a secret that a request takes to another host without encryption, as far as its URL is known. */
function sentOpenly(task: Located, { value: name, start, end }: Located): Finding[] {
  const url = nodeAt(task, ["config", "url"])?.value;
  const [, host = ""] =
    (typeof url === "string" && /^http:\/\/(?:[^/@]*@)?(\[[^\]]*\]|[^/:?#]+)/i.exec(url)) || [];
  if (typeof name !== "string" || host === "" || host.includes("$") || isLoopback(host)) return [];
  const message = `the secret "${name}" is sent to ${host} without encryption`;
  return [{ code: "W014", message, help: "write https://, if the server speaks it", start, end }];
}

/** What is wrong with a name of a secret that a task uses. @param names of those that are declared */
function undeclared(user: string, { value: name, start, end }: Located, names: readonly string[]): Finding[] {
  if (typeof name !== "string" || names.includes(name)) return [];
  const near = nearest(name, names);
  return [
    {
      code: "E081",
      message: `${user} uses the secret "${name}", which secrets of the workflow does not declare`,
      help:
        near === undefined
          ? `say at the top of the file where it is: secrets: {${name}: {file: /path}}`
          : `did you mean "${near}"?`,
      start,
      end,
    },
  ];
}

/** The tasks of a file, and its hooks, which are tasks too. */
function usersIn(root: Located): { readonly user: string; readonly node: Located }[] {
  const of = (key: string, noun: string) =>
    [...(nodeAt(root, [key])?.children ?? [])].map(([id, { node }]) => ({ user: `${noun} "${id}"`, node }));
  return [...of("tasks", "task"), ...of("hooks", "hook")];
}

/** Checks what a task uses. @param names of the secrets that are declared */
function checkUser(user: string, task: Located, names: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  for (const [, { node }] of nodeAt(task, ["config", "headers"])?.children ?? []) {
    const secret = node.children.get("secret")?.node;
    if (secret === undefined) continue;
    findings.push(...undeclared(user, secret, names), ...sentOpenly(task, secret));
  }
  const secrets = task.children.get("secrets")?.node;
  const env = task.children.get("env")?.node;
  const isList = Array.isArray(secrets?.value);
  for (const [key, { node, key: keyPlace }] of secrets?.children ?? []) {
    if (typeof node.value !== "string") continue;
    const { value: name, start, end } = node;
    const variable = isList ? name : String(key);
    if (env?.children.has(variable)) {
      const message = `"${variable}" is both in env and in secrets of ${user}`;
      const place = isList ? { start, end } : (keyPlace ?? { start, end });
      findings.push({ code: "E014", message, help: "keep one of the two", ...place });
    }
    findings.push(...undeclared(user, node, names));
  }
  return findings;
}

type Problem = Pick<Finding, "code" | "message" | "help" | "isPrivate">;

/** What is wrong with where a secret is said to be. */
export function checkSource(name: string, node: Located): Problem | null {
  const way = `write ${name}: {file: /path}, or env, command or store instead of file`;
  if (typeof node.value === "string" || Array.isArray(node.value)) {
    node.broken = true;
    return {
      code: "E080",
      message: "do not put the secret itself into the file",
      help: way,
      isPrivate: true,
    };
  }
  const given = [...node.children.keys()].map(String);
  if (given.length === 0) {
    node.broken = true;
    const message = `the secret "${name}" must say where it is: one of ${WAYS.join(", ")}`;
    return { code: "E080", message, help: way };
  }
  const ways = given.filter((key) => WAYS.includes(key));
  if (ways.length > 1) {
    const message = `the secret "${name}" says more than once where it is: ${ways.join(", ")}`;
    return { code: "E080", message, help: "keep one of them" };
  }
  const variable = node.children.get("env")?.node.value;
  if (typeof variable !== "string" || !SETTING.test(variable)) return null;
  const message = `the secret "${name}" cannot be ${variable}, which is a setting of cdktr`;
  return { code: "E080", message, help: "name another variable of the agent" };
}

/** The secrets that are declared and that no task uses; none if a task uses one that is not declared, which may be meant. */
export function unusedSecrets(file: {
  readonly secrets?: Readonly<Record<string, unknown>> | undefined;
  readonly tasks: readonly UserOfSecrets[];
}): string[] {
  const used = new Set(file.tasks.flatMap(secretsUsedBy));
  const declared = new Set(Object.keys(file.secrets ?? {}));
  return used.isSubsetOf(declared) ? [...declared.difference(used)] : [];
}
