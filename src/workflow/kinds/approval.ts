import { formatDuration } from "../duration.ts";
import { list, oneOf, templated, templates, type ValueOf } from "../field.ts";
import { form } from "../param-fields.ts";
import { duration, filled, flag } from "../scalars.ts";
import { Kind } from "./kind.ts";

/** What every approval publishes, beside the values of its form. */
const PUBLISHED = ["approved_by", "note"] as const;

/** Waits for a person, who approves or rejects. The principal does that: no agent is held. */
export const Approval = new Kind(
  "Approval",
  "waits for a person, who approves or rejects, without an agent",
  {
    message: templated(filled(), "string")
      .help("say what is to be decided, such as message: Deploy to production?")
      .describe("What the person is asked"),
    form: form(PUBLISHED)
      .sparse()
      .describe("What the person fills in, written as params are; the values are outputs of the task"),
    timeout: templated(duration(1), "duration")
      .sparse()
      .as("timeout_ms")
      .describe("How long it waits for an answer; without one it waits for ever"),
    on_timeout: oneOf("reject", "approve")
      .default("reject")
      .describe("What happens if nobody has answered by then"),
    roles: list(oneOf("client", "admin"), { min: 1, unique: true })
      .sparse()
      .describe("Roles of the keys that may answer; by default every key that may trigger runs"),
    four_eyes: flag().sparse().describe("Whoever triggered the run may not answer"),
    templates: templates(),
  },
  {
    command: ({ message }) => ["approve", message],
    waitsFor: "person",
    publishes: { own: PUBLISHED, keysOf: "form" },
    ignores: [
      ...["retry", "repeat", "timeout", "grace", "background", "runs_on", "pool", "working_directory"],
      ...["env", "env_file", "secrets", "stdin", "outputs", "limits", "user"],
    ],
    noEffect: ({ on_timeout, timeout_ms, templates: { timeout } = {} }) =>
      on_timeout !== "reject" && timeout_ms === undefined && timeout === undefined
        ? { key: "on_timeout", where: "without timeout", help: "add a timeout, or remove it" }
        : null,
    demands: ({ form = {}, on_timeout }) => {
      const lacking = Object.entries(form).flatMap(([name, field]) => (field.default === null ? [name] : []));
      if (on_timeout !== "approve" || lacking.length === 0) return null;
      return {
        message: `approves by itself, but ${lacking.join(", ")} of its form ${lacking.length === 1 ? "has" : "have"} no default`,
        help: "give each field a default, or write on_timeout: reject",
      };
    },
  },
);
export type ApprovalConfig = ValueOf<typeof Approval>;

/** Why an approval that nobody has answered is over. */
export function unansweredText({ timeout_ms }: Pick<ApprovalConfig, "timeout_ms">): string {
  return `nobody answered${timeout_ms === undefined ? "" : ` within ${formatDuration(timeout_ms)}`}`;
}
