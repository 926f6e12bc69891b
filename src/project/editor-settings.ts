/** The settings of VS Code for workflow files: completion, descriptions and checks by the YAML extension. */
import {
  applyEdits,
  type FormattingOptions,
  getNodeValue,
  modify,
  type ParseError,
  parseTree,
} from "jsonc-parser";
import { CUSTOM_TAGS } from "../workflow/json-schema.ts";
import { SCHEMA_PATH } from "./answers.ts";

/** Where they are, relative to the project. */
export const EDITOR_SETTINGS_PATH = ".vscode/settings.json";
/** The JSON Schema of `_cdktr.yml`, relative to the project: it is committed with the settings that name it. */
export const SETTINGS_SCHEMA_PATH = ".vscode/cdktr-settings.schema.json";

const TAGS = "yaml.customTags";
const SCHEMAS = "yaml.schemas";

/** What the settings need. */
interface Wanted {
  readonly [TAGS]: readonly string[];
  /** Which files each schema is for. */
  readonly [SCHEMAS]: Readonly<Record<string, readonly string[]>>;
}

/** What an editor has to know. @param workflowDirectory relative to the project */
export function editorSettings(workflowDirectory: string): Wanted {
  const below = workflowDirectory === "." ? "" : `${workflowDirectory.replace(/^\.\//, "")}/`;
  const settings = [`${below}**/_cdktr.yml`, `${below}**/_cdktr.yaml`];
  return {
    [TAGS]: JSON.parse(CUSTOM_TAGS),
    [SCHEMAS]: {
      [`./${SCHEMA_PATH}`]: [`${below}**/*.yml`, `${below}**/*.yaml`, ...settings.map((glob) => `!${glob}`)],
      [`./${SETTINGS_SCHEMA_PATH}`]: settings,
    },
  };
}

/**
 * Adds to the settings of an editor what they lack: all else, comments too, stays as it is.
 * @param current the text of the file; undefined if there is none
 * @returns null if it cannot be read, so that it must not be touched
 */
export function withEditorSettings(current: string | undefined, wanted: Wanted): string | null {
  if (current === undefined || current.trim() === "") return `${JSON.stringify(wanted, null, 2)}\n`;
  const mark = current.startsWith("\ufeff") ? "\ufeff" : "";
  let text = current.slice(mark.length);
  const present = readSettings(text);
  if (present === null) return null;
  const formattingOptions = styleOf(text);
  const set = (path: (string | number)[], value: unknown, isArrayInsertion = false): void => {
    text = applyEdits(text, modify(text, path, value, { formattingOptions, isArrayInsertion }));
  };
  if (present.tags === undefined) set([TAGS], wanted[TAGS]);
  else for (const tag of wanted[TAGS]) if (!present.tags.includes(tag)) set([TAGS, -1], tag, true);
  // Which files it is for may have been changed.
  for (const [schema, globs] of Object.entries(wanted[SCHEMAS]))
    if (!present.schemas.includes(schema)) set([SCHEMAS, schema], globs);
  return mark + text;
}

/** What is in the settings already; null if they cannot be read. */
function readSettings(
  text: string,
): { readonly tags: unknown[] | undefined; readonly schemas: string[] } | null {
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { allowTrailingComma: true });
  if (root?.type !== "object" || errors.length > 0) return null;
  const { [TAGS]: tags, [SCHEMAS]: schemas = {} } = getNodeValue(root) as Readonly<Record<string, unknown>>;
  if (tags !== undefined && !Array.isArray(tags)) return null;
  if (typeof schemas !== "object" || schemas === null || Array.isArray(schemas)) return null;
  return { tags, schemas: Object.keys(schemas) };
}

/** How the file is indented and how its lines end. */
function styleOf(text: string): FormattingOptions {
  const [, indent = "  "] = /\n([ \t]+)\S/.exec(text) ?? [];
  return {
    insertSpaces: !indent.startsWith("\t"),
    tabSize: indent.startsWith("\t") ? 4 : indent.length,
    eol: text.includes("\r\n") ? "\r\n" : "\n",
  };
}
