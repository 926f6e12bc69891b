/**
 * One of several principals of an installation: it joins the others in PostgreSQL, serves its ports from then on, keeps a copy of the state,
 * and is the leader when nobody else is. For each of its terms there is a {@link Principal}, which has all services of a single one.
 */
import type { ConsolaInstance } from "consola";
import { VERSION } from "../../build-facts.ts";
import { type Clock, systemClock } from "../../clock.ts";
import type { HistoryHost } from "../../contract/history.ts";
import type { PrincipalInfo, PrincipalSummary } from "../../contract/messages.ts";
import { PROTOCOL } from "../../contract/version.ts";
import { errorMessage, UsageError } from "../../errors.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import { Exposition } from "../../metrics/exposition.ts";
import type { MetricsServerOptions } from "../../metrics/metrics-server.ts";
import { addProcess } from "../../metrics/process-metrics.ts";
import type { CurveClientKeys } from "../../protocol/client.ts";
import { KeyStore } from "../../protocol/doors/key-store.ts";
import { SharedKeyFiles } from "../../protocol/doors/shared-key-files.ts";
import { BackgroundService, startServices, stopServices } from "../../service.ts";
import { Replica } from "../../storage/operational/mirror/replica.ts";
import { WriteThrough } from "../../storage/operational/mirror/write-through.ts";
import { STATE_MIGRATIONS } from "../../storage/operational/sqlite/schema.ts";
import { SqliteOperationalStore } from "../../storage/operational/sqlite/store.ts";
import { ClusterFiles } from "../../storage/postgres/cluster-files.ts";
import { prepareClusterTables } from "../../storage/postgres/cluster-schema.ts";
import { PostgresConnection } from "../../storage/postgres/connection.ts";
import { isLasting, PostgresUnavailableError } from "../../storage/postgres/errors.ts";
import { COMMITS_CHANNEL, FeedTrimmer } from "../../storage/postgres/feed.ts";
import {
  Cluster,
  LEADER_CHANNEL,
  type MemberFacts,
  type MemberPulse,
  type Term,
} from "../../storage/postgres/leadership.ts";
import type { StoreAddress } from "../../storage/postgres/url.ts";
import { isDoneWithin, pause, Timer } from "../../timer.ts";
import { lakeOf } from "../history/lake-settings.ts";
import { Principal, type PrincipalOptions, type PrincipalPorts } from "../principal.ts";
import { DirectoryDigest } from "./directory-digest.ts";
import { Latencies } from "./latencies.ts";
import { memberIdOf } from "./member-id.ts";
import { addMembers } from "./member-metrics.ts";
import { MemberLife, type MemberState } from "./member-state.ts";
import { type MemberNews, MembersView } from "./members-view.ts";
import { type Outside, outsideOf } from "./outside.ts";
import { nameOf, reachedAt } from "./own-summary.ts";
import { historyPlace, refuseOther } from "./refusals.ts";
import { ServerClock } from "./server-clock.ts";
import { SharedKeys } from "./shared-keys.ts";

/** What is said when each principal has a history of its own. */
const LOCAL_HISTORY =
  "The history is in a file on the host of each principal: whoever leads shows only what happened while it led. Set CDKTR_HISTORY_URL and CDKTR_HISTORY_DATA for all ('cdktr docs lake').";
const STORE_ANSWERS_MS = 10_000;
/** How long the announcement that it is ready waits for a leader, ms. */
const LEADS_MS = 10_000;
/** How often it looks who leads, ms: at rest, and when the leader has not renewed its lease in time. */
const LOOK_MS = 1000;
const SOON_MS = 250;
/** How often a leader renews its lease, ms. */
const RENEW_MS = 1000;
/** The time between two looks for commits to follow, at least, ms. */
const FOLLOW_MS = 50;
/** How often the leader removes old commits from the feed, ms. */
const TRIM_MS = 30_000;
/** How long a leader that stops waits until another one leads, ms. */
const HANDS_OVER_MS = 3000;
/** How long a member whose services could not be started leaves the lead to others, ms. */
const REST_MS = 5000;
/** The pause after something failed, ms. */
const AGAIN_MS = 500;

/** What a member needs. */
export interface MemberOptions
  extends Omit<PrincipalOptions, "member" | "wrapStore" | "clock" | "log" | "history"> {
  readonly store: StoreAddress;
  /** Where the history of a term runs. */
  readonly history: () => HistoryHost;
  readonly log: ConsolaInstance;
  readonly clock?: Clock;
  /** How long the start waits for PostgreSQL, ms; afterwards it goes on trying. Default 10 s. */
  readonly storeAnswersMs?: number;
}

/** Events of a member. */
interface MemberSignals {
  readonly state: MemberState;
}

/** A term of this member. */
interface OwnTerm {
  readonly term: Term;
  writeThrough: WriteThrough | undefined;
  /** Resolves with the reason when it is over. */
  readonly over: PromiseWithResolvers<string>;
  principal: Principal | undefined;
  /** The member stops, and hands over in order. */
  isHandedOver: boolean;
}

export class Member extends BackgroundService<MemberSignals> {
  readonly name = "member";
  /** Stays the same as long as its data directory stays on its host, and its API on its port. */
  readonly id: string;
  readonly #o: MemberOptions;
  readonly #log: ConsolaInstance;
  readonly #warning: RateLimitedWarning;
  readonly #refusal: RateLimitedWarning;
  readonly #clock: ServerClock;
  readonly #startedAtMs: number;
  readonly #postgres: PostgresConnection;
  /** For the commits of its terms: one that waits for a standby holds up nothing else. */
  readonly #writer: PostgresConnection;
  readonly #cluster: Cluster;
  readonly #replica: Replica;
  readonly #life = new MemberLife();
  readonly #view: MembersView;
  readonly #shared: SharedKeys;
  readonly #latencies = new Latencies();
  readonly #digest: DirectoryDigest;
  readonly #tick = this.timer(() => this.track(this.#look()));
  readonly #follow = this.timer(() => this.track(this.#catchUp()));
  /** Goes on while a term is handed over. */
  readonly #renew = new Timer(() => void this.#renewLease(), this.clock);
  readonly #trim = this.timer(() => this.track(this.#trimFeed()));
  readonly #redigest = this.timer(() => this.track(this.#takeDigest()));
  #outside: Outside | undefined;
  #trimmer: FeedTrimmer | undefined;
  #workflowsDigest: string | null = null;
  #sinceMs: number;
  #problem: string | null = null;
  #isJoined = false;
  #looking: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #loading: Promise<void> | undefined;
  #isLeaving = false;
  /** It does not try to lead before (monotonic). */
  #restsUntil = 0;
  /** Those of the principal of the present term. */
  #pages: Pick<MetricsServerOptions, "page" | "health"> | undefined;
  #term: OwnTerm | undefined;
  /** The term in progress, from its begin to the end of its services. */
  #leading: Promise<void> = Promise.resolve();

  constructor(options: MemberOptions) {
    super(options.clock ?? systemClock);
    this.#o = options;
    const { config, log } = options;
    this.#log = log.withTag("member");
    this.#warning = new RateLimitedWarning(this.#log);
    this.#refusal = new RateLimitedWarning(this.#log);
    this.#clock = new ServerClock(this.clock);
    this.#startedAtMs = this.#sinceMs = this.#clock.now();
    const name = nameOf(config);
    this.id = memberIdOf(config.CDKTR_APP_DATA_DIRECTORY, config.CDKTR_PRINCIPAL_PORT);
    this.#postgres = new PostgresConnection(options.store, {
      application: `cdktr ${name}`,
      clock: this.clock,
    });
    this.#writer = new PostgresConnection(options.store, {
      application: `cdktr ${name} (commits)`,
      clock: this.clock,
    });
    this.#cluster = new Cluster(this.#postgres, this.clock, config.CDKTR_LEADER_LEASE_MS);
    this.#replica = new Replica({
      directory: config.CDKTR_APP_DATA_DIRECTORY,
      log: log.withTag("state"),
      migrations: STATE_MIGRATIONS,
    });
    this.#view = new MembersView({
      member_id: this.id,
      name,
      host: reachedAt(config),
      api_port: config.CDKTR_PRINCIPAL_PORT,
      logs_listening_port: config.CDKTR_LOGS_LISTENING_PORT,
      logs_publishing_port: config.CDKTR_LOGS_PUBLISHING_PORT,
    });
    this.#digest = new DirectoryDigest(config.CDKTR_WORKFLOW_DIR);
    const files = new ClusterFiles(this.#postgres, name);
    this.#shared = new SharedKeys({
      files: new SharedKeyFiles(config.CDKTR_APP_DATA_DIRECTORY),
      store: files,
      listen: (changed) => files.listen(changed),
      secretsKeyFile: config.CDKTR_SECRETS_KEY_FILE,
      clock: this.clock,
      log: log.withTag("keys"),
    });
    this.#postgres.signals.on("up", () => this.#soon());
    this.#postgres.listen(LEADER_CHANNEL, () => this.#soon());
    this.#postgres.listen(COMMITS_CHANNEL, () => this.#follow.within(FOLLOW_MS));
  }

  get state(): MemberState {
    return this.#life.state;
  }

  /** The name by which it is known to the others. */
  get knownAs(): string {
    return this.#view.self.name;
  }

  /** Who leads: its name and the number of its term; null while nobody does. */
  get leader(): { readonly name: string; readonly epoch: number } | null {
    return this.#view.leader();
  }

  /** What it is called when it is ready. */
  get title(): string {
    const { leader } = this;
    const role =
      this.state === "LEADING"
        ? `leader (epoch ${leader?.epoch})`
        : leader === null
          ? "nobody leads yet"
          : `follower of ${leader.name} (epoch ${leader.epoch})`;
    return `Principal ${this.knownAs}, ${role},`;
  }

  /** Its ports are bound once it is started. */
  async historyBound(): Promise<void> {}

  /** Resolves when somebody leads, or after 10 s. */
  async historySettled(): Promise<void> {
    const leads = this.#view.signals.until("leader", () => this.leader !== null);
    await isDoneWithin(LEADS_MS, leads, this.clock);
  }

  get isOpen(): boolean {
    return this.#outside?.entrance.isOpen ?? false;
  }

  get ports(): PrincipalPorts {
    const { CDKTR_LOGS_LISTENING_PORT, CDKTR_LOGS_PUBLISHING_PORT } = this.#o.config;
    return {
      api: this.#outside?.front.port ?? 0,
      logsListening: CDKTR_LOGS_LISTENING_PORT,
      logsPublishing: CDKTR_LOGS_PUBLISHING_PORT,
    };
  }

  /** The keys with which this process connects to itself; undefined when it is not secured. */
  get ownKeys(): CurveClientKeys | undefined {
    return this.#outside?.entrance.access?.ownKeys;
  }

  /** The principals of the installation, as far as this one knows. */
  principals(): PrincipalSummary[] {
    return this.#view.summaries({
      ...this.#view.self,
      version: VERSION,
      protocol: PROTOCOL.version,
      started_at_ms: this.#startedAtMs,
      silent_ms: 0,
      ...this.#pulse(),
    });
  }

  /**
   * Joins, and serves. It goes on without PostgreSQL if that does not answer now, and this host has keys.
   * @throws CdktrError when PostgreSQL or the other members refuse it, or a port is taken
   */
  protected override async onStart(): Promise<void> {
    const { config } = this.#o;
    // What is wrong with the settings is said now, not when it leads.
    lakeOf(config);
    this.#replica.open();
    await startServices([this.#postgres, this.#writer]);
    await this.#firstJoin();
    // Before the keys are read.
    if (this.#isJoined) await this.#shared.start();
    const outside = outsideOf(this.#o, {
      view: this.#view,
      clock: this.#clock,
      own: { LSPRINCIPALS: () => this.principals() },
      pages: { page: () => this.#page(), health: () => this.#health() },
      share: () => this.#shared.sync(),
    });
    await startServices([...outside.services, ...outside.relays]);
    this.#outside = outside;
    void this.#takeDigest();
    this.#redigest.every(config.CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S * 1000);
    await this.#look();
  }

  /** Hands over if it leads, and goes. */
  protected override async onStop(): Promise<void> {
    this.#isLeaving = true;
    const term = this.#term;
    if (term !== undefined) {
      term.isHandedOver = true;
      term.over.resolve("it stops");
    }
    await this.#leading;
    // What is held is passed on to the next leader.
    if (term !== undefined) await this.#untilOtherLeads();
    if (this.#outside !== undefined) await stopServices([...this.#outside.services, ...this.#outside.relays]);
    await this.#shared.stop();
    await this.#cluster.leave().catch(() => {});
    await this.#loading;
    this.#enter("STOPPED");
    this.#replica.close();
    await stopServices([this.#postgres, this.#writer]);
  }

  async #firstJoin(): Promise<void> {
    for (let tries = 0; !this.isStopping; tries++) {
      try {
        await this.#postgres.connected(this.#o.storeAnswersMs ?? STORE_ANSWERS_MS);
        await this.#join();
        return;
      } catch (error) {
        if (!(error instanceof PostgresUnavailableError) || isLasting(error)) throw error;
        if (tries === 0) this.#log.warn(`${error.message} This principal goes on trying.`);
        // Without keys, who may connect is not known before it has joined.
        if (new KeyStore(this.#o.config.CDKTR_APP_DATA_DIRECTORY).exists) return;
      }
    }
  }

  async #untilOtherLeads(): Promise<void> {
    if (this.#view.alive().every(({ member_id }) => member_id === this.id)) return;
    const until = this.clock.monotonic() + HANDS_OVER_MS;
    while (this.clock.monotonic() < until) {
      await this.#look();
      const leader = this.#view.leader();
      if (leader !== null && leader.member_id !== this.id) return;
      await pause(FOLLOW_MS, undefined, this.clock);
    }
  }

  // ---------------------------------------------------------------- who leads

  /** Looks now, and again before long. */
  #look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  #soon(): void {
    if (this.#outside !== undefined) this.#tick.in(0);
  }

  async #lookOnce(): Promise<void> {
    let nextMs = AGAIN_MS;
    try {
      if (!this.#isJoined) await this.#join();
      // Nothing happens once that is done: one with other keys does not lead.
      await this.#shared.start();
      const sight = await this.#cluster.look(this.#pulse());
      this.#clock.compare(sight.clockOffsetMs, sight.clockErrorMs);
      this.#view.saw(sight);
      if (sight.isFree && !this.isStopping) await this.#takeOver();
      else this.#keepCopy();
      // A leader renews its lease each second: when that is late, the next look comes soon.
      const lateMs =
        sight.leader === null ? RENEW_MS : this.#o.config.CDKTR_LEADER_LEASE_MS - sight.leader.left_ms;
      nextMs = Math.min(LOOK_MS, Math.max(SOON_MS, RENEW_MS + SOON_MS / 5 - lateMs));
    } catch (error) {
      if (!this.isStopping) this.#cannotLook(error);
    }
    if (!this.isStopping) this.#tick.in(nextMs);
  }

  #cannotLook(error: unknown): void {
    if (error instanceof UsageError)
      this.#refusal.warn(1, () => `This principal is no member: ${error.message} ${error.hint ?? ""}`.trim());
    else this.#warning.warn(1, () => `The other principals cannot be seen: ${errorMessage(error)}`);
  }

  /** @throws UsageError when it does not fit to the others, which may be found out long after it was started: it neither leads nor follows then */
  async #join(): Promise<void> {
    await prepareClusterTables(this.#postgres);
    const facts: MemberFacts = {
      ...this.#view.self,
      version: VERSION,
      protocol: PROTOCOL.version,
      started_at_ms: this.#startedAtMs,
    };
    this.#view.name = await this.#cluster.join(facts, this.#pulse());
    try {
      const sight = await this.#cluster.look(this.#pulse());
      refuseOther(sight, this.#o.config, this.id);
      if (this.#o.config.CDKTR_HISTORY_URL === "" && sight.members.length > 1) this.#log.warn(LOCAL_HISTORY);
    } catch (error) {
      await this.#cluster.leave().catch(() => {});
      throw error;
    }
    this.#isJoined = true;
  }

  #pulse(): MemberPulse {
    const { config } = this.#o;
    const news: MemberNews = {
      state: this.state,
      since_ms: this.#sinceMs,
      protocol: PROTOCOL,
      lag: this.#lag(),
      store: this.#latencies.summary,
      problem: this.#problem ?? this.#shared.problem,
      blobs: config.CDKTR_BLOB_URL,
      history: historyPlace(config),
    };
    return {
      applied_seq: this.#replica.seq,
      workflows_digest: this.#workflowsDigest ?? "",
      is_stopping: this.#isLeaving,
      data: { ...news },
    };
  }

  #lag(): PrincipalSummary["lag"] {
    if (this.state !== "FOLLOWING") return null;
    const commits = Math.max(0, this.#view.commitSeq - this.#replica.seq);
    return { commits, ms: commits === 0 ? 0 : Math.max(0, this.clock.monotonic() - this.#currentAtMs) };
  }

  async #takeDigest(): Promise<void> {
    this.#workflowsDigest = await this.#digest.take();
  }

  // ---------------------------------------------------------------- the copy of the state

  /** When the copy had all commits that were known (monotonic). */
  #currentAtMs = 0;

  #keepCopy(): void {
    if (this.state === "JOINING") this.#load();
    else if (this.state === "FOLLOWING") void this.#catchUp();
  }

  #load(): void {
    this.#loading ??= this.#loadOnce().finally(() => {
      this.#loading = undefined;
    });
    this.track(this.#loading);
  }

  async #loadOnce(): Promise<void> {
    try {
      await this.#replica.load(this.#postgres);
      this.#problem = null;
      this.#currentAtMs = this.clock.monotonic();
      this.#enter("FOLLOWING");
      this.#soon();
    } catch (error) {
      if (this.isStopping) return;
      // It follows, and cannot lead.
      this.#problem = errorMessage(error);
      this.#warning.warn(1, () => `The state cannot be copied from the store: ${errorMessage(error)}`);
    }
  }

  /** Applies the commits of the leader that the copy lacks. */
  #catchUp(): Promise<void> {
    if (this.state !== "FOLLOWING") return Promise.resolve();
    this.#following ??= this.#catchUpOnce().finally(() => {
      this.#following = undefined;
    });
    return this.#following;
  }

  async #catchUpOnce(): Promise<void> {
    try {
      const isCurrent = await this.#replica.follow(this.#postgres);
      if (this.state !== "FOLLOWING") return;
      if (!isCurrent) {
        // It was away for too long, or everything was replaced.
        this.#enter("JOINING");
        this.#load();
        return;
      }
      this.#currentAtMs = this.clock.monotonic();
    } catch (error) {
      this.#log.debug(`Commits of the leader cannot be read now: ${errorMessage(error)}`);
    }
  }

  // ---------------------------------------------------------------- a term

  async #takeOver(): Promise<void> {
    if (this.state !== "FOLLOWING" || this.clock.monotonic() < this.#restsUntil) return this.#keepCopy();
    await this.#catchUp();
    if (this.state !== "FOLLOWING") return;
    const term = await this.#cluster.takeOver();
    if (term === null) return;
    if (!this.#enter("TAKING_OVER")) return await this.#cluster.release(term);
    this.#leading = this.#lead(term);
    this.track(this.#leading);
  }

  async #lead(term: Term): Promise<void> {
    const own: OwnTerm = {
      term,
      over: Promise.withResolvers<string>(),
      writeThrough: undefined,
      principal: undefined,
      isHandedOver: false,
    };
    this.#term = own;
    this.#renew.every(RENEW_MS / 2);
    this.#log.info(`Nobody leads: this principal takes over (epoch ${term.epoch}).`);
    let reason: string;
    try {
      await this.#serve(own);
      reason = await own.over.promise;
    } catch (error) {
      reason = errorMessage(error);
      // Others may be able to; if there are none, it tries again.
      this.#problem = reason;
      this.#restsUntil = this.clock.monotonic() + REST_MS;
    }
    this.#enter("STEPPING_DOWN");
    if (!own.isHandedOver)
      this.#log.warn(`This principal does not lead any more (epoch ${term.epoch}): ${reason}.`);
    await this.#stepDown(own);
  }

  /** Ends the term, if it lasts. */
  #over(own: OwnTerm, reason: string): void {
    if (own.writeThrough === undefined) this.#end(own, reason);
    else own.writeThrough.end(reason);
  }

  /** Nothing of the term counts any more. */
  #end(own: OwnTerm, reason: string): void {
    // Before any unit is rejected: what is in flight waits for the next leader.
    this.#outside?.door.endTerm();
    own.over.resolve(reason);
  }

  /** Starts the services of the term. */
  async #serve(own: OwnTerm): Promise<void> {
    const { term } = own;
    const outside = this.#outside;
    if (outside === undefined) throw new Error("it serves nobody yet");
    const { entrance, door, front, relays } = outside;
    // Their ports become those of the services.
    await Promise.all([this.#replica.lead(this.#postgres, term), stopServices(relays)]);
    const writeThrough = new WriteThrough({
      query: (sql, values, options) => this.#latencies.of(this.#writer.query(sql, values, options)),
      term,
      seq: this.#replica.seq,
      clock: this.clock,
      over: (reason) => this.#end(own, reason),
    });
    own.writeThrough = writeThrough;
    const { store: _, history, log, ...options } = this.#o;
    const { config } = options;
    const principal = new Principal({
      ...options,
      log,
      clock: this.#clock,
      history: history(),
      member: {
        store: new SqliteOperationalStore({
          directory: config.CDKTR_APP_DATA_DIRECTORY,
          log: log.withTag("state"),
          clock: this.#clock,
          replica: { isNew: this.#replica.isNew, writeThrough },
        }),
        epoch: term.epoch,
        entrance,
        front: (target, pages) => {
          this.#pages = pages;
          const hasLapsed = () => term.leaseUntil <= this.clock.monotonic();
          return { services: [door.serving(target, hasLapsed)], port: front.port };
        },
        principals: () => this.principals(),
        place: () => this.#place(),
        hold: () => door.hold(),
      },
    });
    own.principal = principal;
    await principal.start();
    if (!this.#enter("LEADING")) return;
    this.#view.lead({ ...this.#view.self, epoch: term.epoch });
    this.#trimmer = new FeedTrimmer(this.#postgres, this.clock);
    this.#trim.every(TRIM_MS);
    this.#log.success(`This principal leads (epoch ${term.epoch}).`);
  }

  async #stepDown(own: OwnTerm): Promise<void> {
    if (!own.isHandedOver) this.#over(own, "it steps down");
    this.#trim.cancel();
    try {
      await own.principal?.stop();
    } catch (error) {
      this.#log.error(`Stopping the services of the term: ${errorMessage(error)}`);
    }
    this.#renew.cancel();
    this.#over(own, "it is over");
    this.#term = undefined;
    this.#pages = undefined;
    await this.#cluster.release(own.term).catch(() => {});
    if (this.isStopping) return;
    try {
      await startServices(this.#outside?.relays ?? []);
    } catch (error) {
      this.#log.error(`Logs and webhooks cannot be passed on: ${errorMessage(error)}`);
    }
    this.#enter("JOINING");
    this.#soon();
  }

  /** Renews the lease, unless a commit has done so. */
  async #renewLease(): Promise<void> {
    const own = this.#term;
    if (own === undefined) return;
    try {
      if (!(await this.#cluster.renew(own.term))) this.#over(own, "another principal leads");
    } catch (error) {
      this.#log.debug(`The lease cannot be renewed now: ${errorMessage(error)}`);
    }
    if (own.term.leaseUntil <= this.clock.monotonic())
      this.#over(own, "the lease could not be renewed in time");
  }

  async #trimFeed(): Promise<void> {
    try {
      await this.#trimmer?.trim(this.#view.commitSeq);
      await this.#cluster.forgetOthers();
    } catch (error) {
      this.#log.debug(`Old commits cannot be removed now: ${errorMessage(error)}`);
    }
  }

  #enter(state: MemberState): boolean {
    if (!this.#life.enter(state)) return false;
    this.#sinceMs = this.#clock.now();
    this.signals.emit("state", state);
    // The others are told.
    this.#soon();
    return true;
  }

  // ---------------------------------------------------------------- what it says of itself

  async #page(): Promise<string> {
    const page = new Exposition();
    if (this.#pages === undefined) addProcess(page);
    addMembers(page, {
      members: this.principals(),
      isStoreUp: this.#postgres.isUp,
      epoch: this.#view.epoch,
    });
    return `${(await this.#pages?.page()) ?? ""}${page}`;
  }

  /** @throws Error when it neither leads nor knows who does */
  async #health(): Promise<Record<string, unknown>> {
    const leader = this.leader;
    const about = {
      member: this.knownAs,
      role: this.state,
      leader: leader?.name ?? null,
      epoch: leader?.epoch ?? null,
    };
    if (this.#pages !== undefined) return { ...(await this.#pages.health()), ...about };
    if (leader === null)
      throw new Error(
        `No principal leads. ${this.#postgres.isUp ? "" : this.#postgres.failure.message}`.trim(),
      );
    return { ...about, version: VERSION };
  }

  #place(): Pick<PrincipalInfo, "host" | "member" | "members"> {
    const { name, host } = this.#view.self;
    return { host, member: name, members: this.#view.alive().map(({ member_id: _, ...place }) => place) };
  }
}
