/** Tasks that wait for a person, and their answers. */
import { z } from "zod";
import { ParamDefinitions } from "../../workflow/model.ts";
import { Name } from "./common.ts";

/** The longest note of an answer, in characters. */
const LONGEST_NOTE = 4096;
/** The longest values of a form, bytes together. */
const MOST_FORM_BYTES = 64 * 1024;

/** A task, or an item of a fan-out, that waits for a person. */
export const ApprovalSummary = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  task_id: z.string(),
  /** Of an item of a fan-out. */
  item_key: z.string().optional(),
  task_instance_id: z.string(),
  /** What is asked. */
  message: z.string(),
  /** What is to be filled in, by name; empty for nothing. */
  form: ParamDefinitions,
  /** Since when it waits, ms since the epoch. */
  since_ms: z.number(),
  /** When it is over if nobody answers, ms since the epoch; null for never. */
  due_ms: z.number().nullable(),
  /** What happens then. */
  on_timeout: z.enum(["reject", "approve"]),
  /** Roles of the keys that may answer; absent for every key that may. */
  roles: z.array(z.string()).optional(),
  /** Whether whoever triggered the run may not answer. */
  four_eyes: z.boolean(),
  /** Who triggered the run: the name of a key, or without keys that of the user; null for nobody, as for a schedule. */
  triggered_by: z.string().nullable(),
  /** Why whoever asks may not answer; absent if they may. Only in the reply to `LSAPPROVALS`. */
  refusal: z.string().optional(),
});
export type ApprovalSummary = z.infer<typeof ApprovalSummary>;

/** `LSAPPROVALS`: those that wait, oldest first. */
export const ListApprovals = z.object({
  /** Only those of this run: its id, or a prefix of it that no other run has. */
  workflow_instance_id: Name.optional(),
  workflow_id: Name.optional(),
  limit: z.number().int().min(1).max(1000).default(100),
});
export type ListApprovals = z.infer<typeof ListApprovals>;

/** `ANSWERAPPROVAL`. */
export const AnswerApproval = z.object({
  workflow_instance_id: Name,
  /** May be left out if only one task of the run waits for a person. */
  task_id: Name.optional(),
  /** Of an item of a fan-out; `task_id` is needed then. */
  item_key: Name.optional(),
  answer: z.enum(["approve", "reject"]),
  /** The values of the form, as texts, as in `RUNTASK`; what is left out gets its default. Without meaning in a rejection. */
  params: z
    .record(z.string().max(256), z.string())
    .default({})
    .refine((params) => bytesOf(params) <= MOST_FORM_BYTES, `are longer than ${MOST_FORM_BYTES} bytes`),
  note: z
    .string()
    .max(LONGEST_NOTE)
    .refine((note) => !note.includes("\0"), "contains a NUL character")
    .default(""),
  /** A second request with the same key gets the reply of the first. */
  dedupe_key: z.string().min(1).max(512).optional(),
});
export type AnswerApproval = z.infer<typeof AnswerApproval>;

/** Reply to `ANSWERAPPROVAL`. */
export const ApprovalAnswered = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  task_id: z.string(),
  item_key: z.string().optional(),
  /** What has become of the task: COMPLETED, or FAILED if it was rejected. */
  status: z.enum(["COMPLETED", "FAILED"]),
});
export type ApprovalAnswered = z.infer<typeof ApprovalAnswered>;

function bytesOf(params: Readonly<Record<string, string>>): number {
  return Object.entries(params).reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value),
    0,
  );
}
