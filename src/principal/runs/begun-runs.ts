/**
 * Runs that an agent has begun by itself: commands of `cdktr exec`. The first report about one brings it. Reports are applied in order
 * and once each, so it is created exactly once, however late; from then on it is a run like others that an agent has.
 */
import type { Clock } from "../../clock.ts";
import { COMMAND_TRIGGER } from "../../contract/commands.ts";
import type { OperationalTx } from "../../storage/operational/store.ts";
import { commandDefinition } from "../../workflow/command-definition.ts";
import type { Definitions } from "./definitions.ts";
import type { RunWord } from "./hearing.ts";
import type { RunCreation } from "./run-creation.ts";

/** What {@link BegunRuns} needs. */
interface BegunRunsOptions {
  readonly clock: Clock;
  readonly definitions: Definitions;
  readonly creation: Pick<RunCreation, "create">;
}

/** Creates them. */
export class BegunRuns {
  readonly #o: BegunRunsOptions;

  constructor(options: BegunRunsOptions) {
    this.#o = options;
  }

  /**
   * Creates the run that a report brings, offered to its agent; part of a unit of work. The report itself then says that the agent has it.
   * What the agent says is taken as that of one command: an agent may neither order what others execute, nor name the secrets, hooks and
   * channels of a workflow. Anything else is not created, and what is reported of it counts for nothing.
   */
  async begun(tx: OperationalTx, word: RunWord): Promise<void> {
    const { workflow_instance_id, agent_id, begun, timestamp_ms, ahead_ms = 0 } = word;
    if (begun === undefined || (await tx.getRun(workflow_instance_id)) !== null) return;
    const told = this.#o.definitions.ofText(hashOf(begun.definition), begun.definition)?.definition;
    const [task, another] = told?.tasks ?? [];
    if (told === undefined || task?.config.type !== "Subprocess" || another !== undefined) return;
    const { id: taskId, name: taskName, config } = task;
    const command = commandDefinition(told.id, { id: taskId, name: taskName, config });
    const { id, name, tasks } = command;
    const definition = JSON.stringify(command);
    await this.#o.creation.create(tx, {
      workflow_instance_id,
      workflow_id: id,
      workflow_name: name,
      definition_hash: hashOf(definition),
      definition,
      params: {},
      trigger: COMMAND_TRIGGER,
      scheduled_time_ms: null,
      retry_of: null,
      trigger_depth: 0,
      tasks_total: tasks.length,
      carried: [],
      begun: {
        agent_id,
        session_id: begun.session_id,
        at_ms: Math.min(this.#o.clock.now(), Math.round(timestamp_ms - ahead_ms)),
      },
    });
  }
}

function hashOf(definition: string): string {
  return new Bun.CryptoHasher("sha256").update(definition).digest("hex");
}
