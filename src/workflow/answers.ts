/** What a task of kind `!Approval` asks a person, and how the task ends with the answer. */
import { InvalidInputError } from "../errors.ts";
import { type ApprovalConfig, unansweredText } from "./kinds/approval.ts";
import { jsonOfParam, readParam } from "./param-types.ts";
import { resolveForm } from "./params.ts";

/** What a person is asked, with the values of its expressions. Plain JSON. */
export type Question = Omit<ApprovalConfig, "type" | "templates" | "form"> & {
  readonly form: NonNullable<ApprovalConfig["form"]>;
};

/** An answer to a question. */
export interface Answer {
  readonly answer: "approve" | "reject";
  /** The values of its form, as texts. */
  readonly params: Readonly<Record<string, string>>;
  readonly note: string;
  /** Who answers; null if nobody has in time. */
  readonly by: string | null;
}

/** How a task ends that was answered. */
export interface Answered {
  readonly status: "COMPLETED" | "FAILED";
  readonly error: string | null;
  /** JSON object: what it publishes. */
  readonly outputs: string | null;
}

/**
 * What a task asks.
 * @param config with the values of its expressions
 * @throws InvalidInputError if a default that was computed does not fit its field
 */
export function questionOf({ type: _, templates: __, form = {}, ...config }: ApprovalConfig): Question {
  for (const [name, field] of Object.entries(form)) {
    const read = field.default === null ? undefined : readParam(field, field.default);
    if (read?.ok === false)
      throw new InvalidInputError(`form.${name}.default: the value must ${read.problem.must}`);
  }
  return { ...config, form };
}

/** The answer to a question to which nobody has given one in time. */
export function lateAnswer(question: Question): Answer {
  return { answer: question.on_timeout, params: {}, note: unansweredText(question), by: null };
}

/**
 * How a task ends that was answered.
 * @param task its name in messages
 * @throws InvalidInputError for values that do not fit the form
 */
export function answered(
  task: string,
  { form }: Pick<Question, "form">,
  { answer, params, note, by }: Answer,
): Answered {
  if (answer === "reject") {
    const who = by === null ? "" : `rejected by ${by}${note === "" ? "" : ": "}`;
    return { status: "FAILED", error: `${who}${note}`, outputs: null };
  }
  const texts = resolveForm(`the form of "${task}"`, form, params);
  const values = Object.entries(texts).map(([name, text]) => [name, jsonOfParam(form[name] ?? {}, text)]);
  const outputs = { approved_by: by ?? "timeout", note, ...Object.fromEntries(values) };
  return { status: "COMPLETED", error: null, outputs: JSON.stringify(outputs) };
}
