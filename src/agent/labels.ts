/** The labels that every agent has by itself. */
import { availableParallelism, hostname } from "node:os";
import type { AUTOMATIC_LABELS } from "../contract/agent-labels.ts";
import { UsageError } from "../errors.ts";

/** Names and values of the labels of this host. */
export function automaticLabels(): Readonly<Record<(typeof AUTOMATIC_LABELS)[number], string>> {
  return {
    host: hostname(),
    arch: process.arch,
    os: process.platform,
    cores: String(availableParallelism()),
  };
}

/**
 * Refuses labels that would replace those that an agent has by itself.
 * @throws UsageError
 */
export function refuseAutomatic(given: Readonly<Record<string, string>>): void {
  const automatic: Readonly<Record<string, string>> = automaticLabels();
  for (const name of Object.keys(automatic)) {
    if (!Object.hasOwn(given, name)) continue;
    throw new UsageError(
      `--label ${name}=${given[name]} is refused: every agent has the label ${name} by itself.`,
      {
        hint: `Here it is ${name}=${automatic[name]}. Use another name for a label of your own.`,
      },
    );
  }
}
