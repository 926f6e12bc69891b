/** The kinds of tasks that the principal carries out itself: what they wait for. A new one needs a row here. */
import type { WaitRecord } from "../../storage/operational/store.ts";
import type { TaskConfig } from "../../workflow/model.ts";

/** What a task waits for. */
export type RunWait = Pick<WaitRecord, "kind" | "due_ms" | "data">;

/** A kind of task. */
interface RunKind<Config> {
  /** The task begins to wait. @param at ms since the epoch */
  begin(config: Config, at: number): RunWait;
}

const KINDS: { readonly [T in TaskConfig["type"]]?: RunKind<Extract<TaskConfig, { type: T }>> } = {
  Wait: {
    begin: ({ for_ms, until_ms }, at) => ({
      kind: "time",
      due_ms: for_ms === undefined ? (until_ms ?? at) : at + for_ms,
      data: "{}",
    }),
  },
};

/**
 * What a task waits for that begins at this time.
 * @param at ms since the epoch
 * @throws Error for a kind that agents execute
 */
export function beginWait<C extends TaskConfig>(config: C, at: number): RunWait {
  const kind = (KINDS as Partial<Record<string, unknown>>)[config.type] as RunKind<C> | undefined;
  if (kind === undefined) throw new Error(`the principal does not carry out tasks of kind !${config.type}`);
  return kind.begin(config, at);
}
