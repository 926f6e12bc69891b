/** The keys of workflow files as tables, from the schema: for the manual. */
import { z } from "zod";
import { AlertFile } from "./alert-file.ts";
import type { AnyField, Keys } from "./field.ts";
import { DirectorySettings, Workflow } from "./model.ts";
import { TAG_KEY } from "./yaml-tree.ts";

/** A key of a mapping. */
export interface KeyRow {
  readonly key: string;
  /** What its value is, in words. */
  readonly value: string;
  /** As it is written in a file; null for none. */
  readonly default: string | null;
  readonly isRequired: boolean;
  /** Whether it may hold expressions. */
  readonly hasExpressions: boolean;
  readonly about: string;
}

/** The keys of a mapping. */
export interface KeyTable {
  /** The places that have these keys, such as `tasks.ID.retry`. */
  readonly places: readonly string[];
  readonly rows: readonly KeyRow[];
}

/** The tables of all mappings of a workflow file, of `_cdktr.yml` and of an alert file; equal ones are one. */
export function keyTables(): KeyTable[] {
  const tables = new Map<string, { places: string[]; rows: readonly KeyRow[] }>();
  visit(Workflow, "", tables);
  visit(DirectorySettings, "_cdktr.yml", tables);
  visit(AlertFile, "alert file", tables);
  return [...tables.values()];
}

type Tables = Map<string, { places: string[]; rows: readonly KeyRow[] }>;

function visit(field: AnyField, place: string, tables: Tables): void {
  const { keys, kinds, entry, listEntry } = field.traits;
  const inside = (name: string): string => (place === "" ? name : `${place}.${name}`);
  if (keys !== undefined)
    addTable(keys, place === "" ? "workflow" : place.replace(/^hooks\.on_\w+/, "hooks.ON"), tables);
  for (const [name, child] of Object.entries(keys ?? {})) visit(child, inside(name), tables);
  for (const [tag, kind] of Object.entries(kinds ?? {})) visit(kind, `${place}: !${tag}`, tables);
  // Lists of mappings are written as one of them.
  const named = entry === undefined || entry === field ? undefined : entry;
  if (named !== undefined) visit(named, isList(field) ? place : inside(nameIn(place)), tables);
  if (listEntry !== undefined && listEntry !== entry) visit(listEntry, place, tables);
}

/** What stands for the names of users in a mapping. */
function nameIn(place: string): string {
  return place === "tasks" ? "ID" : "NAME";
}

function addTable(keys: Keys, place: string, tables: Tables): void {
  const rows = Object.entries(keys).flatMap(([key, field]) => (key === TAG_KEY ? [] : [rowOf(key, field)]));
  const same = JSON.stringify(rows);
  const table = tables.get(same);
  if (table === undefined) tables.set(same, { places: [place], rows });
  else if (!table.places.includes(place)) table.places.push(place);
}

interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly pattern?: string;
  readonly description?: string;
  readonly default?: unknown;
}

function schemaOf(field: AnyField): Schema {
  return z.toJSONSchema(field.file, { target: "draft-7", io: "input", unrepresentable: "any" }) as Schema;
}

function isList(field: AnyField): boolean {
  return formsOf(schemaOf(field)).some(({ type }) => type === "array");
}

function rowOf(key: string, field: AnyField): KeyRow {
  const schema = schemaOf(field);
  const { absent, template, entry, kinds } = field.traits;
  const meta = (z.globalRegistry.get(field.file) ?? {}) as { readonly default?: unknown };
  const fallback = meta.default ?? schema.default;
  // What is written otherwise than it is stored is in the description.
  const isEmpty = fallback === undefined || /^(\[\]|\{\}|\[\[.*\]\])$/.test(JSON.stringify(fallback));
  const words = [...new Set(formsOf(schema).flatMap(wordOf))];
  return {
    key,
    value: kinds === undefined ? words.join(" or ") || "an expression" : kindsOf(kinds),
    default: isEmpty ? null : textOf(fallback),
    isRequired: absent === undefined,
    hasExpressions: template !== undefined || entry?.traits.template !== undefined,
    about: aboutOf(schema),
  };
}

function kindsOf(kinds: Keys): string {
  return Object.keys(kinds)
    .map((tag) => `\`!${tag}\``)
    .join(", ");
}

/** The description of a value, also of one that may be absent. */
function aboutOf({ description, anyOf = [] }: Schema): string {
  return description ?? anyOf.map(aboutOf).find((about) => about !== "") ?? "";
}

/** The forms that a value may have, without its absence. */
function formsOf(schema: Schema): readonly Schema[] {
  const { anyOf, oneOf } = schema;
  const forms = [...(anyOf ?? []), ...(oneOf ?? [])];
  if (forms.length === 0) return schema.type === "null" ? [] : [schema];
  return forms.flatMap(formsOf);
}

function wordOf({ type, enum: words, pattern, items, ...rest }: Schema): string[] {
  if (words !== undefined) return words.map((word) => `\`${word}\``);
  if (rest.const !== undefined) return [`\`${rest.const}\``];
  // A template in place of the value.
  if (pattern?.includes("\\$\\{\\{") === true && type === "string") return [];
  const types = [type].flat().filter((each) => each !== undefined && each !== "null");
  if (types.includes("array")) {
    const inner = items === undefined ? [] : [...new Set(formsOf(items).flatMap(wordOf))];
    return [inner.length === 0 || inner.length > 6 ? "list" : `list of ${inner.join(" or ")}`];
  }
  if (types.includes("object")) return ["mapping"];
  if (types.includes("string")) return ["text"];
  if (types.includes("integer")) return ["whole number"];
  if (types.includes("number")) return ["number"];
  return types.includes("boolean") ? ["true or false"] : [];
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(", ")}]`;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
