/**
 * The agents: registration, signs of life, orders. An agent that is silent for the timeout is LOST and its attempts crash.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type {
  AgentDescription,
  AgentOrders,
  AgentReports,
  AgentSummary,
  Heartbeat,
} from "../../contract/messages.ts";
import { mismatch, type Peer, THIS_PEER } from "../../contract/version.ts";
import { InvalidInputError, NotFoundError, NotYetError, UnprocessableError } from "../../errors.ts";
import type { Identity } from "../../protocol/doors/access.ts";
import { BackgroundService } from "../../service.ts";
import type { AgentState } from "../../storage/operational/agent-state.ts";
import type {
  AgentRecord,
  AttemptRecord,
  DueAgent,
  OperationalStore,
  OperationalTx,
} from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { isDoneWithin } from "../../timer.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { agentAlert, agentKey, lostAgents } from "../alerts/agent-alerts.ts";
import type { Alerts } from "../alerts/alerts.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import type { Installation } from "../installation.ts";
import { logFailure } from "../log-failure.ts";
import type { LongPolls } from "../long-polls.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { nameOf, textOf } from "../runs/attempt-name.ts";
import type { LeaseWatch } from "../runs/lease-watch.ts";
import type { PauseWatch } from "../runs/pause-watch.ts";
import { agentLost, type RunChanges } from "../runs/run-changes.ts";
import { thereIsNo } from "../unknown-name.ts";
import {
  AgentContacts,
  type Contact,
  copied,
  idInUse,
  registerFirst,
  requireLatest,
  requireRecent,
} from "./agent-contacts.ts";
import type { AgentKeys } from "./agent-keys.ts";
import { applyReports } from "./agent-reports.ts";
import { AgentWatch } from "./agent-watch.ts";
import { PlainAgents } from "./plain-agents.ts";
import { delivered, hasNews, type LogPositions, StandingOrders } from "./standing-orders.ts";

/** What the registry needs. */
export interface AgentRegistryOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly leases: LeaseWatch;
  readonly polls: LongPolls;
  readonly logs: LogPositions;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  /** Says which key may act for which agent; absent without keys. */
  readonly keys: AgentKeys | undefined;
  /** Random, new on every start. */
  readonly principalId: string;
  readonly installation: Installation;
  readonly heartbeatTimeoutMs: number;
  readonly events: PrincipalEvents;
  readonly pauses: PauseWatch;
  /** Tells those who are to know that an agent is lost. By default nobody is told. */
  readonly alerts?: Pick<Alerts, "raise" | "resolve" | "openOf">;
}

/** Maximum number of log messages about agents that come and go, per minute: enough for a whole fleet, but not for a flood. */
const LOGGED_A_MINUTE = 200;
/** How long a live agent may take to show that it is alive, ms. */
const ANSWERS_WITHIN_MS = 1000;
/** How long the reply to an agent that is about to exit waits for its lines to be written, ms: it asks again. */
const WRITTEN_WITHIN_MS = 250;
/** Maximum number of replaced sessions to remember. */
const REMEMBERED_SESSIONS = 10_000;

/** Knows the agents. */
export class AgentRegistry extends BackgroundService {
  readonly name = "agent registry";
  /** Agents known only by name. */
  readonly plain: PlainAgents;
  readonly #o: AgentRegistryOptions;
  readonly #contacts: AgentContacts;
  readonly #orders: StandingOrders;
  readonly #watch: AgentWatch;
  #logged = { minute: 0, count: 0 };
  /** Sessions of older agents that were replaced by another process of the agent: if one returns, two processes are running. */
  readonly #replaced = new Set<string>();

  constructor(options: AgentRegistryOptions) {
    super(options.clock);
    this.#o = options;
    this.#contacts = new AgentContacts(options.clock, options.heartbeatTimeoutMs);
    this.#orders = new StandingOrders(options);
    this.#watch = new AgentWatch({
      ...options,
      contacts: this.#contacts,
      lose: (agent) => this.#lose(agent),
    });
    this.plain = new PlainAgents({
      ...options,
      contacts: this.#contacts,
      opened: () => this.#watch.registered(),
      registered: (agentId) => this.#tell("info", `Agent ${agentId} registered`),
    });
    options.events.on("orders changed", (agentId) => options.polls.wake(topicOf(agentId)));
    options.events.on("principal paused", () => this.#contacts.forgive());
  }

  /** After a start, known agents get a full timeout to report. */
  protected override async onStart(): Promise<void> {
    const agents = await this.#o.store.read((tx) => tx.listAgents());
    for (const agent of agents) {
      if (agent.status === "LOST") continue;
      const contact = this.#contacts.open(agent.agent_id, agent.session_id, agent.last_heartbeat_ms);
      contact.isForeign = mismatch(speakerOf(agent), THIS_PEER) !== undefined;
    }
    await this.#watch.start();
  }

  protected override onStop(): Promise<void> {
    return this.#watch.stop();
  }

  /**
   * Registers an agent's process.
   * @param sender owner of the key of the request, when there are keys
   * @throws UnprocessableError when another process with the same id is alive
   * @throws NotYetError while it is unknown whether the other process is alive
   * @throws VersionMismatchError when they have no protocol in common
   * @throws ForbiddenError when the id belongs to another key
   * @throws InvalidInputError when the stream is another agent's
   */
  async register(agentId: string, description: AgentDescription, sender?: Identity): Promise<AgentOrders> {
    const { session_id, stream_id } = description;
    const apart = mismatch(description, THIS_PEER);
    if (apart !== undefined) {
      this.#o.log.warn(`Agent ${agentId} is refused. ${apart.message} ${apart.hint}`);
      throw apart;
    }
    // An agent whose disk was set back continues after the last line that the history has.
    const isKnown = (await this.#o.store.read((tx) => tx.getStream(stream_id))) !== null;
    if (isKnown && !(await this.#o.logs.locate(stream_id)))
      throw new NotYetError(
        "The history is starting: it is not known yet how much of this agent's log it has.",
      );
    const rival = await this.#o.store.read((tx) => tx.getAgent(agentId));
    await this.#requireEnd(rival, description);
    const outcome = await this.#o.store.transact(async (tx) => {
      if (sender !== undefined) await this.#o.keys?.claim(tx, sender, agentId);
      const stream = await tx.getStream(stream_id);
      if (stream !== null && stream.agent_id !== agentId) throw foreignStream(agentId);
      const known = await tx.getAgent(agentId);
      const restarted = known !== null && known.session_id !== session_id;
      if (isDoubtful(known, description) && known?.session_id !== rival?.session_id) throw notYet(agentId);
      const status: AgentState = restarted || known?.status !== "DRAINING" ? "UP" : "DRAINING";
      await tx.registerAgent(
        {
          agent_id: agentId,
          session_id,
          stream_id,
          host: description.host,
          pid: description.pid,
          version: description.version,
          protocol: description.protocol.version,
          oldest_protocol: description.protocol.oldest,
          max_concurrent_workflows: description.max_concurrent_workflows,
          labels: description.labels,
          status,
          registered_at_ms: this.#o.clock.now(),
          last_heartbeat_ms: this.#o.clock.now(),
        },
        known,
        this.#o.heartbeatTimeoutMs,
      );
      await this.#o.alerts?.resolve(tx, agentKey(agentId), this.#o.clock.now());
      const durable = stream?.seq ?? 0;
      if (durable === 0)
        await tx.advanceStream(stream_id, agentId, stream?.seq ?? null, 0, this.#o.clock.now());
      await this.#o.leases.known(tx, agentId, description.running);
      const waitFor = description.report_seq !== undefined && description.report_seq > durable;
      if (!waitFor) await this.#crashFormer(tx, agentId, session_id);
      return { restarted, waitFor, fresh: known === null };
    });
    const former = this.#contacts.get(agentId);
    const contact = this.#contacts.open(agentId, session_id);
    if (contact !== former) {
      if (former?.sessionId != null) this.#remember(former.sessionId);
      this.#o.events.emit("agent dismissed", agentId);
      this.#o.polls.wake(topicOf(agentId));
    }
    contact.isRegistered = true;
    contact.chain.restart(description.last_token);
    // Before it sends lines: their times are right from the first one on.
    if (description.clock_ahead_ms !== undefined)
      this.#clocksCompared(contact, contact.skew.measured(description.clock_ahead_ms));
    contact.running = description.running;
    contact.settle =
      outcome.waitFor && description.report_seq !== undefined
        ? { upTo: description.report_seq, by: this.#o.clock.monotonic() + this.#o.heartbeatTimeoutMs }
        : null;
    if (description.log_first_seq !== undefined)
      this.#o.logs.agentHoldsFrom(stream_id, description.log_first_seq);
    this.#watch.registered();
    this.#tell(
      "info",
      `Agent ${agentId} registered (${description.host}, process ${description.pid}, ${description.max_concurrent_workflows} at once` +
        `${outcome.fresh ? "" : outcome.restarted ? ", new process" : ", again"})`,
    );
    const contact_token = contact.chain.offer();
    const orders = await this.#orders.of(contact, description.running);
    return { ...orders, contact_token, takes_whole_tasks: true };
  }

  /**
   * Unless the newcomer is the successor of the process that has the id, makes sure that this process is gone by asking it for a sign
   * of life.
   * @throws UnprocessableError when it answers; otherwise NotYetError until it is lost
   */
  async #requireEnd(known: AgentRecord | null, newcomer: AgentDescription): Promise<void> {
    if (known === null) return;
    const contact = this.#contacts.get(known.agent_id);
    const former = contact?.sessionId === known.session_id ? contact : undefined;
    if (!isDoubtful(known, newcomer)) {
      if (!namesFormer(newcomer) && this.#replaced.has(newcomer.session_id))
        throw this.#refuse(known, newcomer);
      if (former !== undefined && mayBeCopied(former, newcomer) && (await this.#answers(former)))
        throw this.#refuse(known, newcomer);
      return;
    }
    const isBeforeBoot = former !== undefined && this.#isFromBeforeBoot(former, newcomer);
    const isAnswering =
      newcomer.follows === undefined ||
      known.session_id === null ||
      (former !== undefined && (await this.#answers(former)));
    if (isAnswering) throw this.#refuse(known, newcomer);
    if (isBeforeBoot) {
      this.#tell(
        "info",
        `The host of agent ${known.agent_id} was restarted: its former process (pid ${known.pid}) has ended.`,
      );
      return;
    }
    this.#tell(
      "info",
      `Agent ${known.agent_id} on ${newcomer.host} has to wait: it is unknown whether its former process on ${known.host} (pid ${known.pid}) has ended.`,
    );
    throw notYet(known.agent_id);
  }

  /**
   * Whether the newcomer runs where its former process ran, on a host that was restarted after that was last heard. A copy on another host
   * was started while the original was still heard.
   */
  #isFromBeforeBoot(former: Contact, { follows }: AgentDescription): boolean {
    if (follows?.restarted === undefined || follows.session_id !== former.sessionId) return false;
    const { boot_id, up_ms } = follows.restarted;
    return boot_id === this.#o.installation.formerBootId || up_ms < this.#contacts.silentMs(former);
  }

  async #answers(contact: Contact): Promise<boolean> {
    const now = this.#o.clock.monotonic();
    contact.asked ??= { ...Promise.withResolvers<void>(), at: now };
    const { promise, at } = contact.asked;
    this.#o.polls.wake(topicOf(contact.agentId));
    // A newcomer that has not waited for the answer asks again.
    const leftMs = at + ANSWERS_WITHIN_MS - now;
    return leftMs > 0 && isDoneWithin(leftMs, promise, this.#o.clock);
  }

  #refuse(known: AgentRecord, newcomer: AgentDescription): UnprocessableError {
    const isCopy = known.stream_id === newcomer.stream_id || newcomer.follows?.in_place === false;
    const error = isCopy ? copied(known) : idInUse(known);
    this.#tell(
      "warn",
      `An agent on ${newcomer.host} (pid ${newcomer.pid}) is refused: ${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}.`,
    );
    return error;
  }

  #remember(sessionId: string): void {
    if (this.#replaced.size >= REMEMBERED_SESSIONS) this.#replaced.clear();
    this.#replaced.add(sessionId);
  }

  #tell(level: "info" | "warn", text: string): void {
    const minute = Math.floor(this.#o.clock.monotonic() / 60_000);
    if (this.#logged.minute !== minute) this.#logged = { minute, count: 0 };
    if (++this.#logged.count <= LOGGED_A_MINUTE) this.#o.log[level](text);
    else if (this.#logged.count === LOGGED_A_MINUTE + 1)
      this.#o.log.warn(
        `More than ${LOGGED_A_MINUTE} agents came or went within a minute; the rest are not logged.`,
      );
  }

  /**
   * Records a sign of life of an agent's process.
   * @throws UnprocessableError when it must register first
   */
  seen(agentId: string, sessionId: string, lastToken?: string): void {
    this.#contacts.seen(this.#contacts.known(agentId, sessionId, lastToken));
  }

  /** Whether an agent is draining. */
  async isDraining(agentId: string): Promise<boolean> {
    return (await this.#o.store.read((tx) => tx.getAgent(agentId)))?.status === "DRAINING";
  }

  /**
   * Handles a heartbeat: replies when there is news for the agent or its long poll ends.
   * @throws UnprocessableError when the process must register first
   */
  async heartbeat(beat: Heartbeat): Promise<AgentOrders> {
    const contact = this.#contacts.known(beat.agent_id, beat.session_id, beat.last_token);
    requireLatest(contact, beat.contact_token);
    this.#contacts.heard(contact);
    contact.running = beat.running;
    contact.survivors = beat.survivors ?? [];
    this.#compareClocks(contact, beat);
    const record = await this.#o.store.read((tx) => tx.getAgent(beat.agent_id));
    if (record?.session_id !== beat.session_id || record.status === "LOST")
      throw registerFirst(beat.agent_id);
    if (record.stream_id !== null && beat.log_first_seq !== undefined) {
      this.#o.logs.agentHoldsFrom(record.stream_id, beat.log_first_seq);
    }
    if (beat.state === "leaving") return this.#leave(contact);
    if (beat.state === "draining") {
      await this.#setState(beat.agent_id, "DRAINING");
      // It exits as soon as its lines are in DuckDB, so write them now. If that fails, it keeps them on its disk.
      if (beat.running.length === 0)
        await isDoneWithin(
          WRITTEN_WITHIN_MS,
          this.#o.logs.flush().catch(() => {}),
          this.#o.clock,
        );
    }
    await this.#endForgotten(contact);
    // One that registered with an earlier principal learns at once that it has to again.
    const deadline = this.#o.clock.monotonic() + (contact.isRegistered ? beat.wait_ms : 0);
    const { directories = [] } = beat;
    for (;;) {
      const ticket = this.#o.polls.ticket(topicOf(beat.agent_id));
      const orders = await this.#orders.of(contact, contact.running);
      const left = deadline - this.#o.clock.monotonic();
      const isOver = left <= 0 || contact.asked !== null || hasNews(contact, orders);
      if (isOver) ticket.drop();
      if (isOver || (await ticket.wait(left)) === "closed") {
        const over = directories.length === 0 ? {} : { over_runs: await this.#orders.overRuns(directories) };
        const next = beat.contact_token === undefined ? {} : { contact_token: contact.chain.offer() };
        return { ...delivered(contact, orders), ...next, ...over };
      }
      this.#contacts.known(beat.agent_id, beat.session_id);
    }
  }

  #compareClocks(contact: Contact, { now_ms }: Heartbeat): void {
    if (now_ms === undefined) return;
    const hasChanged = contact.skew.heard(now_ms, this.#o.clock.now());
    if (hasChanged || contact.skew.aheadMs !== 0) this.#clocksCompared(contact, hasChanged);
  }

  #clocksCompared({ agentId, skew: { aheadMs } }: Contact, hasChanged: boolean): void {
    this.#o.events.emit("agent clock compared", { agentId, offsetMs: -aheadMs });
    if (!hasChanged) return;
    if (aheadMs === 0) {
      this.#o.log.info(`The clocks of agent ${agentId} and of the principal agree again.`);
      return;
    }
    const apart = formatDuration(Math.round(Math.abs(aheadMs) / 1000) * 1000);
    this.#o.log.warn(
      `The clock of agent ${agentId} is ${apart} ${aheadMs > 0 ? "ahead of" : "behind"} the principal's: ` +
        "times of its runs and log lines are corrected. Synchronize both hosts (timedatectl set-ntp true).",
    );
  }

  /**
   * Applies reports in sequence, each once.
   * @param isAwaited whether somebody waits for the end of a run
   * @throws UnprocessableError when the process must register first
   */
  async report(batch: AgentReports, isAwaited: (runId: string) => boolean): Promise<AgentOrders> {
    const contact = this.#contacts.get(batch.agent_id);
    const registered = contact?.sessionId === batch.session_id ? contact : undefined;
    if (registered !== undefined) {
      requireRecent(registered, batch.last_token);
      this.#contacts.seen(registered);
    }
    try {
      const agent = { agentId: batch.agent_id, sessionId: batch.session_id };
      const orders = await this.#o.store.transact(
        async (tx) => {
          // What is on an agent's disk counts, even before its new process has registered: fencing is by attempt.
          const stream = await tx.getStream(batch.stream_id);
          if (registered === undefined && stream?.agent_id !== batch.agent_id)
            throw registerFirst(batch.agent_id);
          if (stream !== null && stream.agent_id !== batch.agent_id) throw foreignStream(batch.agent_id);
          const applied = await applyReports(tx, batch, {
            ...this.#o,
            before: stream?.seq ?? null,
            nowMs: this.#o.clock.now(),
            aheadMs: registered?.skew.aheadMs ?? 0,
          });
          if (registered?.settle && applied.seq >= registered.settle.upTo) {
            await this.#crashFormer(tx, batch.agent_id, batch.session_id);
            tx.afterCommit(() => {
              registered.settle = null;
            });
          }
          const stored = { id: batch.stream_id, seq: applied.seq };
          return this.#orders.within(tx, agent, applied.fenced, stored);
        },
        patienceFor(batch, isAwaited),
      );
      return registered === undefined ? orders : delivered(registered, orders);
    } catch (error) {
      // It may have been unable to report the end of attempts that it no longer mentions.
      contact?.missing.clear();
      throw error;
    }
  }

  /** All agents, sorted by id. */
  async list(): Promise<AgentSummary[]> {
    const { agents, open, tasks } = await this.#o.store.read(async (tx) => ({
      agents: await tx.listAgents(),
      open: await tx.openAttempts(),
      tasks: await tx.countRunningTasks(),
    }));
    return agents.map((agent) => {
      const contact = this.#contacts.get(agent.agent_id);
      const leases = open.filter((attempt) => attempt.agent_id === agent.agent_id);
      const heartbeat = Math.max(contact?.seenWall ?? 0, agent.last_heartbeat_ms);
      return {
        agent_id: agent.agent_id,
        last_ping_timestamp: heartbeat * 1000,
        running_tasks: tasks.get(agent.agent_id) ?? 0,
        host: agent.host,
        status: agent.status,
        running_workflows: leases.length,
        max_concurrent_workflows: agent.max_concurrent_workflows,
        last_heartbeat_ms: heartbeat,
        silent_ms: Math.max(0, this.#o.clock.now() - heartbeat),
        labels: { ...agent.labels },
        version: agent.version,
        protocol: agent.protocol,
        survivors: [...(contact?.survivors ?? [])],
        run_ids: [...new Set(leases.map((attempt) => attempt.workflow_instance_id))],
        ...(contact === undefined || contact.skew.aheadMs === 0
          ? {}
          : { clock_ahead_ms: contact.skew.aheadMs }),
      };
    });
  }

  /**
   * Drains an agent.
   * @throws NotFoundError when there is no such agent
   * @throws UnprocessableError when it is lost
   */
  async drain(agentId: string, audit: Audit = unaudited): Promise<void> {
    const agents = await this.#o.store.read((tx) => tx.listAgents());
    const agent = agents.find((candidate) => candidate.agent_id === agentId);
    if (agent === undefined) {
      const ids = agents.map((candidate) => candidate.agent_id);
      throw new NotFoundError(thereIsNo("agent", agentId, ids));
    }
    if (agent.status === "LOST")
      throw new UnprocessableError(`Agent ${agentId} is lost; there is nothing to drain.`);
    await this.#setState(agentId, "DRAINING", audit);
    this.#o.polls.wake(topicOf(agentId));
  }

  /** Removes agents that have been lost since before `beforeMs`. */
  async forgetLost(beforeMs: number): Promise<void> {
    const { store, alerts, clock } = this.#o;
    await store.transact(async (tx) => {
      await tx.forgetLostAgents(beforeMs);
      for (const { agent_id, key } of lostAgents(alerts))
        if ((await tx.getAgent(agent_id)) === null) await alerts?.resolve(tx, key, clock.now());
    });
  }

  /** Ends the attempts of the agent's former process. */
  async #crashFormer(tx: OperationalTx, agentId: string, sessionId: string | null): Promise<void> {
    for (const attempt of await tx.openAttempts(agentId)) {
      if (attempt.session_id === sessionId) continue;
      await this.#crash(tx, attempt, "the agent was restarted");
    }
  }

  /** Ends attempts that the agent holds but has not mentioned for a whole timeout, and overdue ones of a former process. */
  async #endForgotten(contact: Contact): Promise<void> {
    const now = this.#o.clock.monotonic();
    const named = new Set(contact.running.map(nameOf));
    const open = await this.#o.store.read((tx) => tx.openAttempts(contact.agentId));
    const forgotten: AttemptRecord[] = [];
    const offers = open.filter((attempt) => attempt.lease === "OFFERED" && named.has(nameOf(attempt)));
    const missing = new Set<string>();
    for (const attempt of open) {
      const name = nameOf(attempt);
      if (attempt.session_id !== contact.sessionId) {
        if (contact.settle === null || now > contact.settle.by) forgotten.push(attempt);
      } else if (attempt.lease === "HELD" && !named.has(name)) {
        missing.add(name);
        const since = contact.missing.get(name) ?? now;
        contact.missing.set(name, since);
        if (now - since > this.#o.heartbeatTimeoutMs) forgotten.push(attempt);
      }
    }
    for (const name of contact.missing.keys()) if (!missing.has(name)) contact.missing.delete(name);
    if (offers.length > 0) {
      await this.#o.store
        .transact((tx) => this.#o.leases.known(tx, contact.agentId, offers))
        .catch((error) => logFailure(this.#o.log, "Offers of runs cannot be renewed", error));
    }
    if (forgotten.length === 0) return;
    await this.#o.store.transact(async (tx) => {
      for (const attempt of forgotten) {
        const present = await tx.getAttempt(attempt);
        if (present !== null) await this.#crash(tx, present, "the agent no longer knows of this run");
      }
    });
  }

  async #crash(tx: OperationalTx, attempt: AttemptRecord, reason: string): Promise<void> {
    if (attempt.lease !== "OFFERED" && attempt.lease !== "HELD") return;
    const run = await tx.getRun(attempt.workflow_instance_id);
    if (run === null) return;
    const after = await this.#o.changes.crash(tx, run, attempt, reason, "REVOKED");
    tx.afterCommit(() =>
      this.#o.log.warn(
        `Run ${run.workflow_instance_id} (${run.workflow_id}): ${textOf(attempt)} on agent ${attempt.agent_id} crashed: ${reason}. ` +
          (after.isQueued ? "It is queued again." : `The run is ${after.run.status}.`),
      ),
    );
  }

  async #setState(agentId: string, state: "UP" | "DRAINING", audit: Audit = unaudited): Promise<void> {
    await this.#o.store.transact(async (tx) => {
      const agent = await tx.getAgent(agentId);
      if (agent === null || agent.status === state) return;
      await tx.transitionAgent(agent, state);
      await audit(tx);
      tx.afterCommit(() => this.#o.log.info(`Agent ${agentId} is ${state}`));
    });
    if (state === "DRAINING") this.#o.events.emit("agent dismissed", agentId);
  }

  /** The agent's process leaves in an orderly way. */
  async #leave(contact: Contact): Promise<AgentOrders> {
    const orders = await this.#orders.of(contact, contact.running);
    await this.#o.store.transact(async (tx) => {
      const agent = await tx.getAgent(contact.agentId);
      if (agent === null) return;
      for (const attempt of await tx.openAttempts(contact.agentId)) {
        await this.#crash(tx, attempt, "the agent left");
      }
      await tx.transitionAgent(agent, "GONE");
      tx.afterCommit(() => this.#o.log.info(`Agent ${contact.agentId} left`));
    });
    this.#contacts.close(contact);
    this.#o.events.emit("agent dismissed", contact.agentId);
    return orders;
  }

  async #lose({ agent_id: agentId, session_id: sessionId }: DueAgent): Promise<void> {
    const seconds = this.#o.heartbeatTimeoutMs / 1000;
    const contact = this.#contacts.get(agentId);
    const isHeard = () => contact?.sessionId === sessionId && this.#contacts.leftMs(contact) > 0;
    const isLost = await this.#o.store.transact(async (tx) => {
      if (isHeard()) return false;
      const agent = await tx.getAgent(agentId);
      // Another process may have registered under the id in the meantime: that one is not silent.
      if (agent?.session_id !== sessionId || agent.status === "LOST") return false;
      await tx.transitionAgent(agent, "LOST", contact?.seenWall);
      const open = await tx.openAttempts(agentId);
      const lost = `Agent ${agentId} is lost: nothing heard for ${seconds} s`;
      tx.afterCommit(() => {
        if (open.length === 0) this.#tell("warn", `${lost}.`);
        else this.#o.log.warn(`${lost}; ${open.length} of its runs crash.`);
      });
      for (const attempt of open) await this.#crash(tx, attempt, agentLost(seconds));
      await this.#o.alerts?.raise(tx, agentAlert(agent, seconds, open.length, this.#o.clock.now()));
      return true;
    });
    if (!isLost) return;
    if (contact?.sessionId === sessionId) this.#contacts.close(contact);
    if (this.#contacts.get(agentId) === undefined) this.#o.events.emit("agent dismissed", agentId);
    this.#o.polls.wake(topicOf(agentId));
  }
}

/** How long reports that nobody waits for may wait for others to be committed with, ms. */
const PATIENCE_MS = 3;

/** An agent starts tasks when it knows that the principal has the confirmation; clients wait for ends. */
function patienceFor({ reports }: AgentReports, isAwaited: (runId: string) => boolean): number {
  const isUrgent = reports.some(
    ({ kind, status, workflow_instance_id: id }) => kind === "run" && (status === "RUNNING" || isAwaited(id)),
  );
  return isUrgent ? 0 : PATIENCE_MS;
}

/** Whether a newcomer may be a different agent, rather than the next process of the agent that has the id. */
function isDoubtful(
  known: AgentRecord | null,
  { session_id, stream_id, follows }: AgentDescription,
): boolean {
  if (known === null || known.status === "LOST" || known.session_id === session_id) return false;
  if (known.stream_id !== stream_id) return true;
  return namesFormer({ follows }) && !(follows?.in_place && follows.session_id === known.session_id);
}

/**
 * Whether a process that has the place and the session of the former one, or follows it in place, may be a copy of it: the snapshot of a
 * virtual machine has both too.
 */
function mayBeCopied(former: Contact, { session_id, last_token }: AgentDescription): boolean {
  return session_id === former.sessionId ? !former.chain.isRecent(last_token) : former.hasCopy;
}

/** Whether an agent's process names its predecessor. Older agents do not, and neither does the first process after an upgrade. */
function namesFormer({ follows }: Pick<AgentDescription, "follows">): boolean {
  return follows !== undefined && (follows.session_id !== null || !follows.in_place);
}

function notYet(agentId: string): NotYetError {
  return new NotYetError(
    `Another process with the id "${agentId}" reported recently and may still be alive. This one is accepted after the other has been silent for CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS.`,
  );
}

function topicOf(agentId: string): string {
  return `agent ${agentId}`;
}

function speakerOf({ version, protocol, oldest_protocol: oldest }: AgentRecord): Peer {
  return { version, protocol: { version: protocol, oldest } };
}

function foreignStream(agentId: string): InvalidInputError {
  return new InvalidInputError(`The stream of agent ${quote(agentId)} is another agent's.`);
}
