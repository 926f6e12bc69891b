/**
 * Records the runs that must follow when a run ends: in the same commit, for every workflow that declares `on: workflow` for it at that
 * moment. The listener that triggers them reads the records (`LSFOLLOWUPS`) at its own pace.
 */

import type { Clock } from "../../clock.ts";
import { COMMAND_TRIGGER } from "../../contract/commands.ts";
import type { FollowUpPage, ListFollowUps } from "../../contract/messages.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { MAX_CHAIN } from "../../workflow/check-triggers.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { aftersOf, idMatcher, isIdGlob } from "../../workflow/triggers.ts";
import type { LongPolls } from "../long-polls.ts";

/** The topic of {@link LongPolls}. */
const TOPIC = "follow-ups";
/** How far back a new listener starts, ms: its workflow may be a little older than its first request. */
const FIRST_LOOK_MS = 10 * 60_000;
/**
 * How far back a listener starts whose position is that of a state which was replaced by a backup, ms. The keys of what it has triggered
 * are kept longer than this, so that nothing is triggered twice.
 */
const RESTORED_LOOK_MS = 6 * 24 * 3_600_000;

/** The current workflows. */
export interface FollowerSource {
  /** Changes whenever a workflow is added, changed or removed. */
  readonly revision: number;
  definitions(): Iterable<Pick<WorkflowDefinition, "id" | "on">>;
  /** Called when a firing of a workflow was refused. */
  refused(workflowId: string, trigger: string, message: string): void;
}

interface Follower {
  readonly workflowId: string;
  readonly statuses: ReadonlySet<string>;
}

interface GlobFollower {
  readonly matches: (id: string) => boolean;
  readonly follower: Follower;
}

/** The followers as of a revision of the workflows: by the id that they follow, and those of globs. */
interface Followers {
  readonly revision: number;
  readonly after: ReadonlyMap<string, readonly Follower[]>;
  readonly globs: readonly GlobFollower[];
}

/** Knows which workflow follows which. */
export class FollowUps {
  readonly #store: OperationalStore;
  readonly #workflows: FollowerSource;
  readonly #polls: LongPolls;
  readonly #clock: Clock;
  #followers: Followers | undefined;

  constructor(options: {
    store: OperationalStore;
    workflows: FollowerSource;
    polls: LongPolls;
    clock: Clock;
  }) {
    this.#store = options.store;
    this.#workflows = options.workflows;
    this.#polls = options.polls;
    this.#clock = options.clock;
  }

  /** A run ends: part of the unit of work that ends it. Nothing follows a command, which agents begin without being asked. */
  async ending(tx: OperationalTx, run: Readonly<RunRecord>): Promise<void> {
    if (run.trigger === COMMAND_TRIGGER) return;
    const followers = this.#of(run.workflow_id, run.status);
    const trigger_depth = run.trigger_depth + 1;
    if (trigger_depth > MAX_CHAIN) {
      tx.afterCommit(() => {
        for (const { workflowId } of followers) this.#refuse(workflowId, run);
      });
      return;
    }
    for (const { workflowId } of followers) {
      await tx.appendFollowUp({
        workflow_id: workflowId,
        after_workflow_id: run.workflow_id,
        after_workflow_instance_id: run.workflow_instance_id,
        after_status: run.status,
        trigger_depth,
        created_at_ms: this.#clock.now(),
      });
    }
    if (followers.length > 0) tx.afterCommit(() => this.#polls.wake(TOPIC));
  }

  /** What comes after the cursor, waiting up to `wait_ms` for it. A cursor from another principal, or from the future, is ignored. */
  async list({ cursor, limit, wait_ms: waitMs }: ListFollowUps): Promise<FollowUpPage> {
    const ticket = this.#polls.ticket(TOPIC);
    const first = await this.#read(cursor, limit);
    if (first.follow_ups.length > 0 || cursor === undefined || waitMs === 0) {
      ticket.drop();
      return first;
    }
    await ticket.wait(waitMs);
    return this.#read(cursor, limit);
  }

  #read(cursor: string | undefined, limit: number): Promise<FollowUpPage> {
    return this.#store.read(async (tx) => {
      const feed = await tx.followUpFeed();
      const [id, seq = ""] = cursor?.split(":") ?? [];
      const isKnown = id === feed.id && /^\d{1,15}$/.test(seq) && Number(seq) <= feed.last_seq;
      const lookMs = originOf(id ?? "") === originOf(feed.id) ? RESTORED_LOOK_MS : FIRST_LOOK_MS;
      const after = isKnown
        ? Number(seq)
        : await tx.followUpsBefore(this.#clock.now() - lookMs, feed.last_seq);
      const rows = await tx.listFollowUps(after, limit);
      return {
        follow_ups: rows.map(({ seq: _seq, ...row }) => row),
        cursor: `${feed.id}:${rows.at(-1)?.seq ?? after}`,
      };
    });
  }

  #refuse(workflowId: string, run: Readonly<RunRecord>): void {
    const message = `it does not follow run ${run.workflow_instance_id} of ${run.workflow_id}: ${MAX_CHAIN} runs have followed each other by "on: workflow" already, the most that are allowed. If the workflows run after each other in a circle, remove one "on: workflow".`;
    this.#workflows.refused(workflowId, "workflow", message);
  }

  /** The workflows that follow a run, each once. */
  #of(workflowId: string, status: RunStatus): Follower[] {
    const { revision } = this.#workflows;
    if (this.#followers?.revision !== revision) this.#followers = { revision, ...this.#all() };
    const { after, globs } = this.#followers;
    const followers = [...(after.get(workflowId) ?? [])];
    for (const { matches, follower } of globs) {
      // A glob may match the workflow that it is in, which must not follow itself.
      if (follower.workflowId !== workflowId && matches(workflowId)) followers.push(follower);
    }
    const found = new Map<string, Follower>();
    for (const follower of followers) {
      if (follower.statuses.has(status)) found.set(follower.workflowId, follower);
    }
    return [...found.values()];
  }

  #all(): Omit<Followers, "revision"> {
    const after = new Map<string, Follower[]>();
    const globs: GlobFollower[] = [];
    for (const { id, on } of this.#workflows.definitions()) {
      for (const { id: other, status } of aftersOf(on)) {
        const follower = { workflowId: id, statuses: new Set<string>(status) };
        if (isIdGlob(other)) globs.push({ matches: idMatcher(other), follower });
        else after.set(other, [...(after.get(other) ?? []), follower]);
      }
    }
    return { after, globs };
  }
}

/** A restored state gets a new id for its feed, which begins with the old one. */
function originOf(feedId: string): string {
  return feedId.split(".", 1)[0] ?? "";
}
