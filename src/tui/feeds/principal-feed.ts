/** Polls a principal for what the screen shows, and reports when it does not answer. */

import type { RunDetails, RunSummary } from "../../contract/messages.ts";
import { errorMessage, NotFoundError, PrincipalUnreachableError } from "../../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../protocol/client.ts";
import { clockAhead } from "../../protocol/clock-ahead.ts";
import { BackgroundService } from "../../service.ts";
import { pause } from "../../timer.ts";
import { selectFailedTask } from "../lists/list-ids.ts";
import { currentPage } from "../navigation.ts";
import type { State } from "../state.ts";
import type { Store } from "../store.ts";
import { readAlerts } from "./alert-feed.ts";
import { readItems } from "./item-feed.ts";
import { isOpen, MOST_RUNS, mergeRuns } from "./merge-runs.ts";
import { readFiles, readOutputs } from "./output-feed.ts";
import { ForecastFeed, readQueue } from "./queue-feed.ts";

/** Number of newest runs read in each round. */
const NEWEST = 100;
/** Maximum number of unfinished runs that are requested one by one because no list has them. */
const ONE_BY_ONE = 20;
const WATCH_MS = 20_000;
/** Listing thousands of workflows takes a while; for their firings alone it takes at most a tenth of the time. */
const IDLE_SHARE = 9;
const KEPT_EVENTS = 1000;

export interface PrincipalFeedOptions {
  readonly client: PrincipalClient;
  readonly store: Store;
  /** Interval between rounds, ms. */
  readonly intervalMs: number;
  /** How long a round waits for the principal, ms. */
  readonly timeoutMs: number;
  /** Called when the principal answers again after an outage. */
  readonly regained: () => void;
}

export class PrincipalFeed extends BackgroundService {
  readonly name = "principal feed";
  readonly #options: PrincipalFeedOptions;
  #nap = new AbortController();
  #principalId: string | null = null;
  #allRead = false;
  #workflowsRevision: string | undefined;
  /** When the workflows may be listed again for their firings, by the monotonic clock. */
  #listAgainAt = 0;
  #eventsAfter = 0;
  readonly #forecasts = new ForecastFeed();
  #forecastNow = false;
  #again = false;

  constructor(options: PrincipalFeedOptions) {
    super();
    this.#options = options;
  }

  protected override onStart(): void {
    this.track(this.#poll());
    this.track(this.#watchWorkflows());
  }

  protected override onStop(): void {
    this.#nap.abort();
  }

  /** Polls at once. */
  refresh(everything = false): void {
    if (everything) {
      this.#allRead = false;
      this.#forecastNow = true;
      this.#workflowsRevision = undefined;
      void this.#readWorkflows().catch(() => {});
    }
    this.#again = true;
    this.#nap.abort();
  }

  async #poll(): Promise<void> {
    while (!this.isStopping) {
      this.#again = false;
      const began = performance.now();
      try {
        await this.#read();
      } catch (error) {
        if (this.isStopping) return;
        this.#lost(error);
      }
      if (this.#again) continue;
      this.#nap = new AbortController();
      if (this.isStopping) return;
      await pause(Math.max(50, this.#options.intervalMs - (performance.now() - began)), this.#nap.signal);
    }
  }

  async #read(): Promise<void> {
    const { client, store } = this.#options;
    const request = { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal };
    const began = performance.now();
    const askedMs = Date.now();
    const info = await client.info(request);
    const latencyMs = performance.now() - began;
    const aheadMs = clockAhead(info.now_ms, askedMs, Date.now());
    const restarted = this.#principalId !== null && info.principal_id !== this.#principalId;
    const regained = store.state.connection.status === "lost" || restarted;
    this.#principalId = info.principal_id;
    if (restarted) {
      this.#allRead = false;
      this.#eventsAfter = 0;
      this.#workflowsRevision = undefined;
    }
    const answered = (state: State) => {
      const now = Date.now();
      const since = state.connection.status === "connected" && !restarted ? state.connection.since : now;
      state.connection = { status: "connected", since, latencyMs, lastDataMs: now, error: null };
      state.data.info = info;
      state.data.aheadMs = aheadMs;
    };
    // The return of the principal is shown at once; otherwise one frame for everything is enough.
    if (store.state.connection.status !== "connected" || restarted) {
      store.update((state) => {
        answered(state);
        if (restarted) state.data.events = [];
      });
    }
    const [agents, principals] = await Promise.all([
      client.registeredAgents(request),
      info.members === undefined ? null : client.call("LSPRINCIPALS", {}, request),
      this.#readRuns(),
      this.#readOpenPage(),
      this.#readEvents(),
      this.#readApprovals(),
      readAlerts(client, store, request),
      store.state.data.workflows === null || regained ? this.#readWorkflows() : this.#readFirings(),
    ]);
    store.update((state) => {
      answered(state);
      state.data.agents = agents;
      state.data.principals = principals;
    });
    if (regained) this.#options.regained();
  }

  #lost(error: unknown): void {
    this.#options.store.update((state) => {
      const before = state.connection;
      // An error reply is a reply too.
      const lost = error instanceof PrincipalUnreachableError;
      state.connection = {
        ...before,
        status: lost ? "lost" : before.status,
        since: lost && before.status !== "lost" ? Date.now() : before.since,
        error: errorMessage(error),
      };
    });
  }

  async #readRuns(): Promise<void> {
    const { client, store } = this.#options;
    const request = { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal };
    const known = store.state.data.runs;
    if (known === null) {
      // Show something first, then everything.
      const newest = await client.listRuns({ limit: NEWEST }, request);
      store.update((state) => {
        state.data.runs = mergeRuns([], newest);
      });
    }
    if (!this.#allRead) {
      const all = await client.listRuns({ limit: MOST_RUNS }, { ...request, timeoutMs: 30_000 });
      this.#allRead = true;
      store.update((state) => {
        state.data.runs = mergeRuns([], all);
      });
      return;
    }
    const newest = await client.listRuns({ limit: NEWEST }, request);
    const seen = new Set(newest.map((run) => run.workflow_instance_id));
    const older = (store.state.data.runs ?? []).filter(
      (run) => isOpen(run) && !seen.has(run.workflow_instance_id),
    );
    const pages: (readonly RunSummary[])[] = [newest];
    if (older.length > 0) {
      const open = await Promise.all([
        client.listRuns({ status: "RUNNING", limit: 1000 }, request),
        client.listRuns({ status: "WAITING", limit: 1000 }, request),
        client.listRuns({ status: "PENDING", limit: 1000 }, request),
      ]);
      pages.push(...open);
      for (const run of open.flat()) seen.add(run.workflow_instance_id);
      const unseen = older.filter((run) => !seen.has(run.workflow_instance_id));
      // They ended in the meantime.
      if (unseen.length > ONE_BY_ONE) this.#allRead = false;
      else pages.push(await this.#readOneByOne(unseen));
    }
    const runs = mergeRuns(store.state.data.runs ?? [], ...pages);
    if (runs !== store.state.data.runs) {
      store.update((state) => {
        state.data.runs = runs;
      });
    }
  }

  async #readOneByOne(runs: readonly RunSummary[]): Promise<RunSummary[]> {
    const { client } = this.#options;
    const request = { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal };
    const read = await Promise.allSettled(
      runs.map((run) => client.getRun(run.workflow_instance_id, request)),
    );
    return read.flatMap((result) => (result.status === "fulfilled" ? [summaryOf(result.value)] : []));
  }

  /** Data that the current page needs in addition to the lists. */
  async #readOpenPage(): Promise<void> {
    const { store } = this.#options;
    const page = currentPage(store.state);
    if (page.kind === "run") {
      await this.readRun(page.id);
      const request = { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal };
      await readItems(this.#options.client, store, request);
      await readOutputs(this.#options.client, store, request);
      await readFiles(this.#options.client, store, request);
    }
    const request = { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal };
    await readQueue(this.#options.client, store, request);
    await this.#forecasts.read(this.#options.client, store, request, this.#forecastNow);
    this.#forecastNow = false;
    const workflowId = shownWorkflow(store.state);
    if (workflowId !== null && !store.state.data.workflowDetails.has(workflowId)) {
      await this.readWorkflow(workflowId);
    }
  }

  /** Reads a run; a finished one is read once. */
  async readRun(id: string): Promise<void> {
    const { client, store } = this.#options;
    const known = store.state.data.runDetails.get(id);
    if (known !== undefined && !isOpen(known)) return;
    await this.#detail(`run ${id}`, async (request) => {
      const run = await client.getRun(id, request);
      store.update((state) => {
        const { data } = state;
        // An unchanged definition stays the same object, so that data derived from it stays valid.
        const definition =
          known?.definition != null && known.attempt === run.attempt ? known.definition : run.definition;
        data.runDetails = new Map(data.runDetails).set(id, { ...run, definition });
        data.runs = data.runs === null ? null : mergeRuns(data.runs, [summaryOf(run)]);
        selectFailedTask(state, id);
      });
    });
  }

  /** Reads a workflow's definition and source. */
  async readWorkflow(id: string): Promise<void> {
    const { client, store } = this.#options;
    await this.#detail(`workflow ${id}`, async (request) => {
      const details = await client.getWorkflow(id, request);
      store.update(({ data }) => {
        const known = data.workflowDetails.get(id);
        // An unchanged definition stays the same object, so that data derived from it stays valid.
        const definition = known?.source === details.source ? known.definition : details.definition;
        data.workflowDetails = new Map(data.workflowDetails).set(id, { ...details, definition });
      });
    });
  }

  async #detail(
    name: string,
    read: (request: { timeoutMs: number; signal: AbortSignal }) => Promise<void>,
  ): Promise<void> {
    const { store } = this.#options;
    try {
      await read({ timeoutMs: this.#options.timeoutMs, signal: this.stopSignal });
      if (store.state.data.detailErrors.has(name)) {
        store.update(({ data }) => {
          const errors = new Map(data.detailErrors);
          errors.delete(name);
          data.detailErrors = errors;
        });
      }
    } catch (error) {
      if (error instanceof PrincipalUnreachableError || this.isStopping) throw error;
      store.update(({ data }) => {
        data.detailErrors = new Map(data.detailErrors).set(name, errorMessage(error));
      });
    }
  }

  async #readEvents(): Promise<void> {
    const { client, store } = this.#options;
    if (store.state.data.eventsMissing !== null) return;
    try {
      const events = await client.call(
        "LSEVENTS",
        { after: this.#eventsAfter, limit: 500 },
        { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal },
      );
      if (events.length === 0) return;
      this.#eventsAfter = events.at(-1)?.seq ?? this.#eventsAfter;
      store.update(({ data }) => {
        data.events = [...data.events, ...events].slice(-KEPT_EVENTS);
      });
    } catch (error) {
      if (!(error instanceof RequestRefusedError)) throw error;
      store.update(({ data }) => {
        data.eventsMissing = "This principal is too old to report its activity.";
      });
    }
  }

  async #readApprovals(): Promise<void> {
    const { client, store } = this.#options;
    if (store.state.data.approvalsMissing !== null) return;
    try {
      const request = { timeoutMs: this.#options.timeoutMs, signal: this.stopSignal };
      const approvals = await client.listApprovals({ limit: 1000 }, request);
      const known = store.state.data.approvals;
      if (known !== null && JSON.stringify(known) === JSON.stringify(approvals)) return;
      store.update(({ data }) => {
        data.approvals = approvals;
      });
    } catch (error) {
      if (error instanceof PrincipalUnreachableError || this.isStopping) throw error;
      // What cannot be told now is told in a later round; the others are not held up.
      if (!(error instanceof RequestRefusedError)) return;
      store.update(({ data }) => {
        data.approvalsMissing = "This principal is too old to know approvals.";
      });
    }
  }

  async #watchWorkflows(): Promise<void> {
    const { client } = this.#options;
    const signal = this.stopSignal;
    while (!signal.aborted) {
      try {
        const revision = await client.watchWorkflows(
          {
            ...(this.#workflowsRevision === undefined ? {} : { revision: this.#workflowsRevision }),
            wait_ms: WATCH_MS,
          },
          { timeoutMs: this.#options.timeoutMs, signal },
        );
        if (revision === this.#workflowsRevision) continue;
        await this.#readWorkflows();
        this.#workflowsRevision = revision;
      } catch (error) {
        if (signal.aborted) return;
        // An older principal does not have this verb: its list is polled from time to time.
        if (error instanceof RequestRefusedError || error instanceof NotFoundError) {
          await this.#readWorkflows().catch(() => {});
          await this.pause(5000);
        } else await this.pause(this.#options.intervalMs);
      }
    }
  }

  async #readWorkflows(): Promise<void> {
    const { store } = this.#options;
    await this.#listWorkflows();
    const open = shownWorkflow(store.state);
    store.update(({ data }) => {
      // The one that is shown stays until it is read again, so that its definition stays the same object if it is unchanged.
      const shown = data.workflows?.some(({ id }) => id === open)
        ? data.workflowDetails.get(open ?? "")
        : undefined;
      data.workflowDetails = new Map(open === null || shown === undefined ? [] : [[open, shown]]);
    });
    if (open !== null) await this.readWorkflow(open);
  }

  /** Reads the next firings from the principal when one that is shown has passed. */
  async #readFirings(): Promise<void> {
    const { data } = this.#options.store.state;
    const now = Date.now() + data.aheadMs;
    const hasPassed = (ms: number | null | undefined) => ms != null && ms <= now;
    const open = shownWorkflow(this.#options.store.state);
    const details = open === null ? undefined : data.workflowDetails.get(open);
    if (open !== null && hasPassed(details?.next_firings_ms?.[0])) await this.readWorkflow(open);
    if (performance.now() < this.#listAgainAt) return;
    if (data.workflows?.some((workflow) => hasPassed(workflow.next_firing_ms))) await this.#listWorkflows();
  }

  async #listWorkflows(): Promise<void> {
    const { client, store } = this.#options;
    const began = performance.now();
    const workflows = await client.listWorkflows({
      timeoutMs: this.#options.timeoutMs,
      signal: this.stopSignal,
    });
    this.#listAgainAt = performance.now() + (performance.now() - began) * IDLE_SHARE;
    store.update(({ data }) => {
      data.workflows = Object.values(workflows).sort((a, b) => (a.id < b.id ? -1 : 1));
    });
  }
}

/** The workflow whose definition the current page needs. */
function shownWorkflow(state: State): string | null {
  const page = currentPage(state);
  if (page.kind === "workflow") return page.id;
  if (page.kind !== "workflows" || state.width < 130) return null;
  const selected = state.lists.workflows?.selected;
  return selected ?? state.data.workflows?.[0]?.id ?? null;
}

function summaryOf(run: RunDetails): RunSummary {
  const over = run.tasks.filter(
    (task) => task.status !== "PENDING" && task.status !== "RUNNING" && task.status !== "WAITING",
  );
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: run.status,
    trigger: run.trigger,
    agent_id: run.agent_id,
    ...(run.agents === undefined ? {} : { agents: run.agents }),
    attempt: run.attempt,
    created_at_ms: run.created_at_ms,
    started_at_ms: run.started_at_ms,
    finished_at_ms: run.finished_at_ms,
    ...(run.duration_ms === undefined ? {} : { duration_ms: run.duration_ms }),
    tasks_total: run.tasks_total ?? run.definition?.tasks.length ?? run.tasks.length,
    tasks_done: run.tasks_done ?? over.length,
    ...(run.allowed_failures === undefined ? {} : { allowed_failures: run.allowed_failures }),
    ...(run.parent === undefined ? {} : { parent: run.parent }),
    ...(run.priority === undefined ? {} : { priority: run.priority }),
    ...(run.hold === undefined ? {} : { hold: run.hold }),
    ...(run.group === undefined ? {} : { group: run.group }),
    ...(run.backfill_id === undefined ? {} : { backfill_id: run.backfill_id }),
  };
}
