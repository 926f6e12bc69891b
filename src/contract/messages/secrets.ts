/** The principal's secrets for tasks. Their values go in, and otherwise only to agents. */
import { z } from "zod";
import { STORED_NAME } from "../../workflow/secrets.ts";

const SecretName = z.string().regex(STORED_NAME, "is not a name of a secret");

/** The largest secret, bytes. */
const MAX_SECRET_BYTES = 64 * 1024;

/** `SETSECRET`. */
export const SetSecret = z.object({
  name: SecretName,
  value: z
    .string()
    .min(4, "it has fewer than 4 characters, so it could not be hidden in logs")
    .refine((value) => Buffer.byteLength(value) <= MAX_SECRET_BYTES, "it is larger than 64 KiB")
    .refine((value) => !value.includes("\0"), "it contains a NUL character"),
});

/** `DROPSECRET`. */
export const DropSecret = z.object({ name: SecretName });

/** An entry of `LSSECRETS`. */
export const SecretSummary = z.object({
  name: z.string(),
  /** Whose key set it; null if there was none. */
  actor: z.string().nullable(),
  changed_at_ms: z.number(),
});
export type SecretSummary = z.infer<typeof SecretSummary>;
