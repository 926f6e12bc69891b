/** Messages about names that do not exist. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import { quote } from "../terminal/foreign-text.ts";

/** `There is no workflow "helo": did you mean "hello"?` */
export function thereIsNo(what: string, name: string, known: Iterable<string>): string {
  const near = didYouMean(name, known);
  return `There is no ${what} ${quote(name)}${near === undefined ? "." : `: ${near}`}`;
}

/**
 * The same for a workflow; if there is an invalid file for it that was not loaded, or the settings of its directory are invalid, the message
 * says so instead.
 * @param invalid invalid files, relative to the workflow directory
 */
export function thereIsNoWorkflow(
  id: string,
  known: Iterable<string>,
  invalid: readonly { readonly path: string; readonly waiting?: readonly string[] | undefined }[],
): string {
  const settings = invalid.find(({ waiting = [] }) => waiting.includes(id));
  if (settings !== undefined)
    return `The workflow ${quote(id)} is not loaded, because the settings of its directory, ${settings.path}, are invalid ('cdktr workflow validate' there shows what is wrong).`;
  const path = invalid.find((file) => file.path.replace(/\.ya?ml$/, "").replaceAll("/", ".") === id)?.path;
  if (path === undefined) return thereIsNo("workflow", id, known);
  return `There is no workflow ${quote(id)}: ${path} is invalid and was not loaded ('cdktr workflow validate' there shows what is wrong).`;
}

/** The message about a workflow of the principal's last run whose file is not there after the start. */
export function notVisible(workflowId: string): string {
  return `The file of workflow ${quote(workflowId)} was there when the principal ran last, but is not visible now: is a volume not mounted yet?`;
}
