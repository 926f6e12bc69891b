/** What the principal answers its history: the history takes status rows, compares runs, and asks who may deliver lines. */
import type {
  ComparedRun,
  Delivery,
  DeliveryVerdict,
  KeptRuns,
  PrincipalCalls,
} from "../../contract/history.ts";
import type { HistoricStatuses } from "../../contract/history-rows.ts";
import type { Access } from "../../protocol/doors/access.ts";
import type { Answers } from "../../protocol/message-link.ts";
import type { StatusFeed } from "../../storage/operational/store.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { AgentKeys } from "../agents/agent-keys.ts";
import type { Installation } from "../installation.ts";

/** What the answers come from. */
export interface StateAnswersOptions {
  readonly statuses: StatusFeed;
  readonly installation: Installation;
  /** What workflows keep of their history. */
  readonly retentions: () => readonly KeptRuns[];
  /** Removes runs that are over from the state. */
  readonly forget: (runs: readonly string[]) => Promise<void>;
  /** Absent without keys. */
  readonly keys: { readonly access: Access; readonly agentKeys: AgentKeys } | undefined;
}

/**
 * Makes the answers.
 * @param fixed called with the path of a copy at the moment whose state the copy contains
 */
export function stateAnswers(
  { statuses, installation, keys, retentions, forget }: StateAnswersOptions,
  fixed: (path: string) => void,
): Answers<PrincipalCalls> {
  /**
   * Whether a history has been compared with the state as it was opened, which precedes taking rows. Every later history of this
   * principal continues that one, and finds rows that were written since.
   */
  let isCompared = false;
  return {
    identity: async () => {
      const identity = await statuses.identity();
      return isCompared ? { ...identity, is_new: false, last_id: Number.MAX_SAFE_INTEGER } : identity;
    },
    changeIdentity: async (to) => {
      // Agents know the id by now: the history has come too late with another one.
      const installation_id = installation.isKnown ? installation.id : to.installation_id;
      await statuses.changeIdentity({ ...to, installation_id });
      return null;
    },
    copyState: async (path) => {
      await statuses.copyTo(path, () => fixed(path));
      return null;
    },
    takeStatuses: ({ after_id, limit }) => {
      isCompared = true;
      return statuses.takeStatuses(after_id, limit);
    },
    ackStatuses: async (upToId) => {
      await statuses.ackStatuses(upToId);
      return null;
    },
    runsChangedAfter: (id) => statuses.runsChangedAfter(id),
    compare: ({ runs, taken_id, repeat }) =>
      statuses.compareWithHistory(runs.map(statusesOf), taken_id, repeat),
    retentions,
    forgetRuns: async (runs) => {
      await forget(runs);
      return null;
    },
    mayDeliver: (delivery) => (keys === undefined ? NO_OBJECTION : verdictOn(delivery, keys)),
  };
}

const NO_OBJECTION: DeliveryVerdict = { refusal: null, foreign: [] };

async function verdictOn(
  { public_key, batch, runs }: Delivery,
  { access, agentKeys }: NonNullable<StateAnswersOptions["keys"]>,
): Promise<DeliveryVerdict> {
  const sender = access.identify(public_key);
  if (sender === undefined || sender.revoked) return { refusal: "their key was revoked", foreign: [] };
  if (batch !== null) {
    const refusal = await agentKeys.refusal(sender, batch.agent_id, batch.stream_id);
    if (refusal !== null) return { refusal, foreign: [] };
  }
  return {
    refusal: null,
    foreign: [...(await agentKeys.foreignRuns(sender, batch?.agent_id ?? null, runs))],
  };
}

function statusesOf({ tasks, ...run }: ComparedRun): HistoricStatuses {
  return {
    ...run,
    tasks: new Map(tasks.map(([id, { attempt, status }]) => [id, { attempt, status: status as RunStatus }])),
  };
}
