/** Writes the manual's tables of verbs from the table in src/contract/verbs.ts: bun scripts/manual.ts */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { isJsonField, type VerbEntry } from "../src/contract/verb-entry.ts";
import { VERB_NAMES, VERBS, type Verb } from "../src/contract/verbs.ts";

const PAGE = join(import.meta.dir, "../src/docs/wire-protocol.md");

/** Keys of a reply that are named; an ellipsis stands for the others. */
const MOST_KEYS = 10;
/** An object with no more keys than these also shows what its arrays hold. */
const FEW_KEYS = 4;

const HEADINGS: Readonly<Record<string, () => string[]>> = {
  "## Verbs with positional fields": positionalTable,
  "## Verbs with one JSON field": jsonTable,
};

/** The page with its tables of verbs as they must be. */
export function withVerbTables(page: string): string {
  const lines = page.split("\n");
  for (const [heading, table] of Object.entries(HEADINGS)) {
    const start = lines.findIndex((line, n) => line.startsWith("|") && n > lines.indexOf(heading));
    const end = lines.findIndex((line, n) => n > start && !line.startsWith("|"));
    lines.splice(start, end - start, ...table());
  }
  return lines.join("\n");
}

function positionalTable(): string[] {
  return table(
    ["request", "reply", "role"],
    entries(true).map(([verb, entry]) => {
      const fields = Object.values(entry.request.shape).map((schema, n) => {
        const text = `${entry.fields?.[n]}${isJsonField(schema) ? `: ${code(shapeOf(schema))}` : ""}`;
        return schema.safeParse(undefined).success ? `[${text}]` : text;
      });
      const payload = entry.reply instanceof z.ZodNull ? "" : ` · ${code(shapeOf(entry.reply, MOST_KEYS))}`;
      const reply = `\`${entry.answers ?? "SUCCESS"}\`${payload}`;
      return [[`\`${verb}\``, ...fields].join(" · "), `${entry.about}. ${reply}`, roleOf(entry)];
    }),
  );
}

function jsonTable(): string[] {
  return table(
    ["verb", "argument", "payload", "role"],
    entries(false).map(([verb, entry]) => [
      `\`${verb}\``,
      code(shapeOf(entry.request)),
      `${entry.about}. ${code(shapeOf(entry.reply, MOST_KEYS))}`,
      roleOf(entry),
    ]),
  );
}

function entries(positional: boolean): [Verb, VerbEntry][] {
  return VERB_NAMES.map((verb): [Verb, VerbEntry] => [verb, VERBS[verb]]).filter(
    ([, { fields }]) => (fields !== undefined) === positional,
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, head.map(() => "---"), ...rows];
  return all.map((cells) => `| ${cells.join(" | ")} |`);
}

/** The role that a key must have; a client's may do what a viewer's may, and an admin's what the others may. */
function roleOf({ roles }: VerbEntry): string {
  const [role = "admin"] = roles.filter((each) => each !== "admin");
  if (role === "agent" && roles.includes("viewer")) return "any";
  return role === "join" ? "join token" : role;
}

const code = (text: string) => `\`${text}\``;

/** `{limit, workflow_id, status}`, `[{…}]`, `{id: {…}}`. */
function shapeOf(schema: z.ZodType, most = Number.POSITIVE_INFINITY): string {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return shapeOf(schema.unwrap() as z.ZodType, most);
  if (schema instanceof z.ZodArray) return `[${shapeOf(schema.element as z.ZodType, most)}]`;
  if (schema instanceof z.ZodRecord) return `{id: ${shapeOf(schema.valueType as z.ZodType, most)}}`;
  if (!(schema instanceof z.ZodObject)) return "text";
  const shape: Record<string, z.ZodType> = schema.shape;
  const keys = Object.entries(shape).map(([key, inner], _, { length }) => {
    const isList = inner instanceof z.ZodArray && inner.element instanceof z.ZodObject;
    return isList && length <= FEW_KEYS ? `${key}: ${shapeOf(inner)}` : key;
  });
  return `{${[...keys.slice(0, most), ...(keys.length > most ? ["…"] : [])].join(", ")}}`;
}

if (import.meta.main) writeFileSync(PAGE, withVerbTables(readFileSync(PAGE, "utf8")));
