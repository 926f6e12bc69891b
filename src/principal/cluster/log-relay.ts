/**
 * The ports for logs of a member that does not lead: what agents deliver goes on to the leader, and the live log of the leader to
 * subscribers. Nothing is kept here. Lines that are lost on the way are sent again by their agents, which keep them until they are in the
 * history; subscribers whose stream is interrupted are disconnected, so that they read from the history what they have missed.
 */
import type { ConsolaInstance } from "consola";
import { MAX_FRAME_BYTES } from "../../contract/wire.ts";
import { errorMessage } from "../../errors.ts";
import { endConnections } from "../../host/connections.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import { CLIENT_SOCKET } from "../../protocol/client-socket.ts";
import type { Access } from "../../protocol/doors/access.ts";
import { bindSocket, DOOR_OPTIONS, isTaken, portOf } from "../../protocol/doors/bind.ts";
import type { LocalPeers } from "../../protocol/doors/local-peers.ts";
import {
  LONGEST_SUBSCRIPTION,
  QUEUED_LINES,
  QUEUED_SUBSCRIPTIONS,
  Watchers,
} from "../../protocol/doors/watchers.ts";
import { curveOptions, watchHandshakes } from "../../protocol/handshake.ts";
import { BackgroundService } from "../../service.ts";
import { turn } from "../../timer.ts";
import {
  hostAndPort,
  type Message,
  Pull,
  Push,
  type Socket,
  Subscriber,
  tcpEndpoint,
  XPublisher,
} from "../../zmq/index.ts";
import { type ClusterView, isSameTerm, type LeaderPlace } from "./leader-view.ts";

/** Messages queued, on the way to the leader and from each agent: each may have 16 MiB. */
const QUEUED_BATCHES = 8;
/** Messages read at once. */
const BATCH = 200;
/** How long the ports may be taken, by the history of a term that is over for instance, and how often they are tried, ms. */
const PORTS_GET_FREE_MS = 10_000;
const LOOK_AGAIN_MS = 50;
/** The pause before a connection that broke is made again, and after a failure, ms. */
const AGAIN_MS = 50;
/** Interval between checks for peers that are still connected although their key was revoked, ms. */
const CUT_PAUSE_MS = 250;
/** How the first character of a probe looks; see `ISSUBSCRIBED`. */
const PROBE = "~";

/** What {@link LogRelay} needs. */
export interface LogRelayOptions {
  readonly host: string;
  /** Where agents deliver, and where lines are published; 0 for any free port. */
  readonly listeningPort: number;
  readonly publishingPort: number;
  readonly view: ClusterView;
  readonly access: Access | undefined;
  readonly locals: LocalPeers | undefined;
  readonly log: ConsolaInstance;
}

/** The connections to one leader. */
interface Upstream {
  readonly leader: LeaderPlace;
  readonly push: Push;
  readonly lines: Subscriber;
  /** Whether its live log arrives. */
  isUp: boolean;
}

/** See the top of this file. Runs while another member leads, or none; the history has the ports while this one leads. */
export class LogRelay extends BackgroundService {
  readonly name = "log relay";
  readonly #o: LogRelayOptions;
  #pull: Pull | undefined;
  #publisher: XPublisher | undefined;
  #watchers: Watchers;
  #upstream: Upstream | undefined;
  /** Resolves when there is another upstream, or none will be. */
  #next = Promise.withResolvers<void>();
  readonly #malformed: RateLimitedWarning;
  #unwatch = () => {};
  #unrevoked = () => {};
  readonly #again = this.timer(() => this.#follow());
  readonly #cut = this.timer(() => this.#cutOff());

  constructor(options: LogRelayOptions) {
    super();
    this.#o = options;
    this.#watchers = new Watchers(options.log);
    this.#malformed = new RateLimitedWarning(options.log);
  }

  /** The bound ports. */
  get ports(): { readonly listening: number; readonly publishing: number } {
    return {
      listening: portOf(this.#pull?.lastEndpoint ?? ""),
      publishing: portOf(this.#publisher?.lastEndpoint ?? ""),
    };
  }

  /** @throws CdktrError when a port stays taken */
  protected override async onStart(): Promise<void> {
    const { host, listeningPort, publishingPort, view, access, locals } = this.#o;
    const pull = new Pull({
      ...DOOR_OPTIONS,
      receiveHighWaterMark: QUEUED_BATCHES,
      maxMessageSize: MAX_FRAME_BYTES,
      ...access?.socketOptions("logs-listening"),
      ...locals?.socketOptions("logs-listening"),
    });
    const publisher = new XPublisher({
      ...DOOR_OPTIONS,
      maxMessageSize: LONGEST_SUBSCRIPTION,
      sendHighWaterMark: QUEUED_LINES,
      receiveHighWaterMark: QUEUED_SUBSCRIPTIONS,
      // With keys every subscription must show its connection, even a repeated one.
      verbose: access !== undefined,
      ...access?.socketOptions("logs-publishing"),
      ...locals?.socketOptions("logs-publishing"),
    });
    this.#pull = pull;
    this.#publisher = publisher;
    this.#watchers = new Watchers(this.#o.log);
    locals?.guard("logs-listening", pull);
    locals?.guard("logs-publishing", publisher);
    const what = { publishing: "port for live logs", listening: "port for agents' logs" };
    await this.#bind(publisher, host, publishingPort, what.publishing, "CDKTR_LOGS_PUBLISHING_PORT");
    await this.#bind(pull, host, listeningPort, what.listening, "CDKTR_LOGS_LISTENING_PORT");
    this.#unrevoked = access?.signals.on("revoked", () => this.#cutOff()) ?? (() => {});
    this.#unwatch = view.signals.on("leader", () => this.#follow());
    this.#follow();
    this.track(this.#deliver(pull));
    this.track(this.#subscribe(publisher));
  }

  protected override onStop(): void {
    this.#unwatch();
    this.#unrevoked();
    this.#pull?.close();
    this.#publisher?.close();
    this.#drop();
    this.#pull = this.#publisher = undefined;
    this.#wake();
  }

  async #bind(socket: Socket, host: string, port: number, what: string, setting: string): Promise<void> {
    const until = this.clock.monotonic() + PORTS_GET_FREE_MS;
    for (;;) {
      try {
        await bindSocket(socket, { host, port, what, setting });
        return;
      } catch (error) {
        if (!isTaken(error) || this.isStopping || this.clock.monotonic() >= until) throw error;
        await this.pause(LOOK_AGAIN_MS);
      }
    }
  }

  /** Connects to the leader that the view names. */
  #follow(): void {
    const { view } = this.#o;
    const leader = view.leader();
    if (this.#upstream !== undefined && isSameTerm(this.#upstream.leader, leader)) return;
    this.#drop();
    if (leader === null || leader.member_id === view.self.member_id || this.isStopping) return;
    const push = new Push({
      ...CLIENT_SOCKET,
      immediate: true,
      sendHighWaterMark: QUEUED_BATCHES,
      ...this.#curve,
    });
    const lines = new Subscriber({ ...CLIENT_SOCKET, receiveHighWaterMark: QUEUED_LINES, ...this.#curve });
    const upstream = { leader, push, lines, isUp: false };
    this.#upstream = upstream;
    lines.events.on("handshake", () => this.#isUp(upstream));
    this.#connect(upstream, push, leader.logs_listening_port);
    // Those of the connection that is made next; in front of all that follow.
    for (const topic of this.#watchers.topics) if (!topic.startsWith(PROBE)) lines.subscribe(latin1(topic));
    this.#connect(upstream, lines, leader.logs_publishing_port);
    this.track(this.#publish(upstream));
    this.#wake();
  }

  #wake(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  #connect(upstream: Upstream, socket: Push | Subscriber, port: number): void {
    const { access, log } = this.#o;
    const { host, name } = upstream.leader;
    const endpoint = tcpEndpoint(host, port);
    watchHandshakes(socket, endpoint, hostAndPort(host, port), access?.ownKeys, (error) =>
      log.debug(error.message),
    );
    socket.events.on("disconnected", () => {
      if (this.#upstream !== upstream) return;
      log.debug(`The connection to the logs of the leader, ${name}, is lost.`);
      this.#drop();
      this.#again.in(AGAIN_MS);
    });
    socket.connect(endpoint);
  }

  get #curve() {
    return curveOptions(this.#o.access?.ownKeys);
  }

  /** A probe that the leader knows shows that it knows the topics before it too. */
  #isUp(upstream: Upstream): void {
    if (this.#upstream !== upstream || upstream.isUp) return;
    upstream.isUp = true;
    for (const topic of this.#watchers.topics)
      if (topic.startsWith(PROBE)) upstream.lines.subscribe(latin1(topic));
  }

  /** The stream from the leader is interrupted. */
  #drop(): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.push.close();
    upstream?.lines.close();
    const { publishing } = this.ports;
    if (upstream !== undefined && publishing !== 0) endConnections(new Set([publishing]), () => true);
  }

  /** Passes on what agents deliver. While nobody leads, what waits in the socket holds them back. */
  async #deliver(pull: Pull): Promise<void> {
    while (!pull.closed) {
      try {
        for (const message of await pull.receiveBatch(BATCH)) await this.#passOn(pull, message);
      } catch (error) {
        if (pull.closed) return;
        this.#o.log.error(`A message from an agent could not be passed on: ${errorMessage(error)}`);
        await this.pause(AGAIN_MS);
      }
      await turn();
    }
  }

  async #passOn(pull: Pull, message: Message): Promise<void> {
    const { access } = this.#o;
    const isAdmitted = access?.admits(message.userId, "logs-listening") ?? true;
    if (!isAdmitted) this.#cut.within(CUT_PAUSE_MS);
    if (!isAdmitted || message.length !== 1) {
      this.#malformed.warn(
        1,
        (count) =>
          `${count} messages with log lines were dropped: they are malformed, or their key was revoked.`,
      );
      return;
    }
    // The leader has to know whose they are: only it knows which agents a key may speak for.
    const parts = access === undefined ? message : [message.userId ?? "", message[0]];
    while (!pull.closed) {
      const upstream = this.#upstream;
      if (upstream === undefined) {
        await this.#next.promise;
        continue;
      }
      try {
        await upstream.push.send(parts);
        return;
      } catch (error) {
        if (!upstream.push.closed) throw error;
      }
    }
  }

  async #publish({ lines }: Upstream): Promise<void> {
    while (!lines.closed) {
      try {
        for (const [line] of await lines.receiveBatch(BATCH))
          if (this.#publisher?.closed === false) this.#publisher.trySend(line);
      } catch (error) {
        if (lines.closed) return;
        this.#o.log.error(`The live log of the leader could not be read: ${errorMessage(error)}`);
        await this.pause(AGAIN_MS);
      }
      await turn();
    }
  }

  async #subscribe(publisher: XPublisher): Promise<void> {
    while (!publisher.closed) {
      try {
        for (const [frame] of await publisher.receiveBatch(BATCH)) this.#take(frame);
        this.#watchers.endGreedy(this.ports.publishing, this.clock.monotonic());
      } catch (error) {
        if (publisher.closed) return;
        this.#o.log.error(`Subscriptions to the live log could not be read: ${errorMessage(error)}`);
        await this.pause(AGAIN_MS);
      }
      await turn();
    }
  }

  #take(frame: Buffer): void {
    const change = this.#watchers.take(frame);
    const upstream = this.#upstream;
    if (change === undefined || upstream === undefined || upstream.lines.closed) return;
    const { topic, isNew } = change;
    // Other probes are passed on once the connection is there, see isUp.
    if (topic.startsWith(PROBE) && !upstream.isUp) return;
    if (isNew) upstream.lines.subscribe(latin1(topic));
    else upstream.lines.unsubscribe(latin1(topic));
  }

  #cutOff(): void {
    const { access } = this.#o;
    if (access === undefined) return;
    this.#publisher?.endConnections(({ userId }) => !access.admits(userId, "logs-publishing"));
    this.#pull?.endConnections(({ userId }) => !access.admits(userId, "logs-listening"));
  }
}

function latin1(topic: string): Buffer {
  return Buffer.from(topic, "latin1");
}
