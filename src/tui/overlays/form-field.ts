/** The fields of a form of parameters: typed freely and checked at each key, or chosen. */
import { type ParamRules, readParam } from "../../workflow/param-types.ts";
import { editLine, newEditor } from "./line-editor.ts";
import type { FormField } from "./overlay.ts";

/** A field for a parameter, with its default in it. */
export function newField(
  name: string,
  param: ParamRules & {
    readonly description: string | null;
    readonly default: string | null;
    readonly default_template?: string | undefined;
  },
): FormField {
  const { description } = param;
  // Whoever leaves an expression as it is gets its value.
  const byDefault = param.default ?? param.default_template ?? null;
  const choices = param.type === "bool" ? ["true", "false"] : (param.enum ?? null);
  return { name, description, byDefault, rules: param, choices, editor: newEditor(byDefault ?? "") };
}

/** Applies a key; false if it does nothing. Choices are changed by the arrows, by the space bar and by their first letters. */
export function fieldKey(field: FormField, key: string): boolean {
  const { choices, editor } = field;
  if (choices === null) return editLine(editor, key);
  const now = choices.indexOf(editor.text);
  let next: string | undefined;
  if (key === "RIGHT" || key === " ") next = choices[(now + 1) % choices.length];
  else if (key === "LEFT") next = choices[(now <= 0 ? choices.length : now) - 1];
  else if ([...key].length === 1) {
    const starts = (choice: string) => choice.toLowerCase().startsWith(key.toLowerCase());
    next = choices.slice(now + 1).find(starts) ?? choices.find(starts);
  }
  if (next === undefined) return false;
  Object.assign(editor, newEditor(next));
  return true;
}

/** What is wrong with the text of a field, such as `must be a whole number`; null if nothing is. */
export function fieldProblem({ byDefault, rules, editor: { text } }: FormField): string | null {
  if (text === "" && byDefault === null) return "is required";
  if (text === byDefault) return null;
  const read = readParam(rules, text);
  return read.ok ? null : `must ${read.problem.must}`;
}
