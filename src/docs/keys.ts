/** The pages that are made from the schema of workflow files: `cdktr docs keys` and `cdktr docs editor`. */
import { CUSTOM_TAGS } from "../workflow/json-schema.ts";
import { type KeyRow, type KeyTable, keyTables } from "../workflow/tables.ts";
import editor from "./editor.md" with { type: "text" };

const INTRODUCTION = `# Keys of workflow files

Every key of workflow files, of \`_cdktr.yml\` and of alert files, as this version knows them. \`cdktr docs workflows\` explains them with examples, and \`cdktr workflow schema\` prints the same as JSON Schema for editors.

In the names of places, \`ID\` stands for the id of a task, \`NAME\` for a name of your own, and \`ON\` for \`on_success\`, \`on_failure\`, \`on_cancel\` or \`on_exit\`. Keys with \`*\` are required. An expression \`\${{ … }}\` may stand where it says so: \`cdktr docs expressions\`.`;

/** The page, Markdown. */
export function keysPage(): string {
  return `${[INTRODUCTION, ...keyTables().map(tableText)].join("\n\n")}\n`;
}

/** The page about editors, with the tags of this version. */
export function editorPage(): string {
  const tags: readonly string[] = JSON.parse(CUSTOM_TAGS);
  return editor.replace("    TAGS", tags.map((tag) => `    ${JSON.stringify(tag)}`).join(",\n"));
}

function tableText({ places, rows }: KeyTable): string {
  const [first = "", ...others] = places;
  const also = others.length === 0 ? "" : `Also in ${others.map((place) => `\`${place}\``).join(", ")}.\n\n`;
  const lines = rows.map(
    (row) => `| \`${row.key}\`${row.isRequired ? "*" : ""} | ${cell(row.value)} | ${cell(meaningOf(row))} |`,
  );
  return `## ${first}\n\n${also}${["| key | value | meaning |", "| --- | --- | --- |", ...lines].join("\n")}`;
}

function meaningOf({ about, default: fallback, hasExpressions, value }: KeyRow): string {
  const sentences = [
    about,
    ...(fallback === null ? [] : [`By default \`${fallback}\``]),
    ...(hasExpressions && value !== "an expression" ? ["May hold expressions"] : []),
  ];
  return sentences
    .filter((sentence) => sentence !== "")
    .map((sentence) => `${sentence}.`)
    .join(" ");
}

/** In a cell of a table, a bar would end it. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
