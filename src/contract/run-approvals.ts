/** Tasks that wait for a person, in the words of the views. */
import { nodeId } from "../workflow/item-id.ts";
import { paramRulesText } from "../workflow/param-types.ts";
import { isRequired } from "../workflow/params.ts";
import type { ApprovalSummary } from "./messages.ts";

/** The task that waits, or the item of a fan-out: `deploy`, `load[eu]`. */
export function nameOfApproval({ task_id, item_key }: Pick<ApprovalSummary, "task_id" | "item_key">): string {
  return nodeId(task_id, item_key ?? null);
}

/** What is to be filled in, a line for each field: `amount (int from 1, default 5): How much`. */
export function formLines(form: ApprovalSummary["form"]): string[] {
  return Object.entries(form).map(([name, field]) => {
    const facts = [
      paramRulesText(field),
      isRequired(field) ? "must be given" : `default ${JSON.stringify(field.default)}`,
    ].filter((fact) => fact !== "");
    return `${name} (${facts.join(", ")})${field.description === null ? "" : `: ${field.description}`}`;
  });
}

/** The commands that answer, for a shell. The run is named by the beginning of its id. */
export function answerCommands(approval: ApprovalSummary): {
  readonly approve: string;
  readonly reject: string;
} {
  const of = `${approval.workflow_instance_id.slice(0, 13)} ${shellWord(nameOfApproval(approval))}`;
  const needed = Object.entries(approval.form).filter(([, field]) => isRequired(field));
  const values = needed.map(([name]) => ` -P ${name}=VALUE`).join("");
  return {
    approve: `cdktr approvals approve ${of}${values}`,
    reject: `cdktr approvals reject ${of} --note WHY`,
  };
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
