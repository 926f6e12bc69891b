/**
 * The client of a principal's API: many requests in flight over one DEALER socket, each matched to its reply by an id in
 * front of the empty delimiter, which the principal's ROUTER echoes (the envelope of ZeroMQ's request-reply pattern, RFC 28).
 * Of an installation with several principals it uses one, and another when that does not answer.
 */
import { z } from "zod";
import { VERSION } from "../build-facts.ts";
import type {
  AgentDescription,
  AgentOrders,
  AlertQueryStatus,
  MemberAddress,
  PoolSummary,
  PrincipalInfo,
  Queue,
  RunDetails,
  SecretSummary,
} from "../contract/messages.ts";
import { fieldsOf, type VerbEntry, waitOf } from "../contract/verb-entry.ts";
import { type ReplyOf, type RequestFor, VERBS, type Verb } from "../contract/verbs.ts";
import { encodeFields, type Reply } from "../contract/wire.ts";
import { CdktrError, InvalidInputError, PrincipalUnreachableError, UnprocessableError } from "../errors.ts";
import { EventHub } from "../event-hub.ts";
import { isWithoutLeader, PrincipalConnection } from "./connection.ts";
import type { CurveClientKeys } from "./handshake.ts";
import { type Address, Members, type Place } from "./members.ts";

export { AccessRefusedError, type CurveClientKeys, curveOptions } from "./handshake.ts";

/** The address of the principal, keys and timeouts. */
export interface ClientOptions {
  readonly host: string;
  readonly port: number;
  /** Further members of the same installation, which are used when this one does not answer. */
  readonly others?: readonly Address[];
  /** Members that an earlier process has learned. */
  readonly remembered?: readonly MemberAddress[];
  /** Whose order of preference it has among the members, such as an agent's id; by default that in which they were given. */
  readonly preferredBy?: string;
  /** Goes back to its first choice when that answers again, and moves at another moment than others that do. */
  readonly returns?: boolean;
  /** How often it looks for its first choice, ms. */
  readonly lookMs?: number;
  /** How long one attempt waits for its reply, ms. */
  readonly timeoutMs: number;
  /** Attempts before {@link PrincipalUnreachableError}; 1 by default. */
  readonly attempts?: number;
  /** Keys for a secured principal. */
  readonly curve?: CurveClientKeys;
}

/** Options of one request. */
export interface RequestOptions {
  /** How long one attempt waits for its reply, ms; a long poll adds its `wait_ms`. */
  readonly timeoutMs?: number;
  readonly attempts?: number;
  /** Cancels the request, which rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Events of a client. */
interface ClientSignals {
  /** It is connected to another member, or knows the ports of its member now. */
  readonly moved: Place;
  /** It has learned that there are other members than it knew. */
  readonly members: readonly MemberAddress[];
}

/** `CLIENTERROR`: the request was wrong. */
export class RequestRefusedError extends InvalidInputError {}
/** The principal is older than this client and does not have the verb. */
export class VerbUnknownError extends RequestRefusedError {}
/** The principal is one of the original implementation of cdktr. */
export class OriginalPrincipalError extends RequestRefusedError {}
/** `UNPROC`: the principal cannot do this now. */
export class RequestUnprocessableError extends UnprocessableError {}
/** `SERVERERROR`, or a reply that this client does not understand. */
export class PrincipalFailedError extends CdktrError {}

/** Members are there, but none leads: as long as that is so, the installation answers no more than one principal that is away. */
export class NoLeaderError extends PrincipalUnreachableError {}

/** The verbs of the original implementation. Before any other, a connection carries a `PING`: whoever answers may not know it. */
const ORIGINAL_VERBS: ReadonlySet<Verb> = new Set([
  "PING",
  "LSWORKFLOWS",
  "RUNTASK",
  "REGISTERAGENT",
  "FETCHWORKFLOW",
  "AGENTWORKFLOWSTATUS",
  "AGENTTASKSTATUS",
  "QUERYLOGS",
  "GETRECENTSTATUSES",
  "GETREGISTEREDAGENTS",
]);

/** The reply to a greeting that is not needed. */
const PRESUMED: Reply = { kind: "PONG", payload: "" };

/** How principals of all versions begin the reply to an unknown verb. */
const UNKNOWN_VERB = /^There is no verb "/;
/** How one of the original implementation replies to it. */
const ORIGINAL_UNKNOWN_VERB = /Unrecognised message type/;

/** A connection to an installation. It connects at the first request and reconnects by itself. */
export class PrincipalClient {
  readonly signals = new EventHub<ClientSignals>();
  readonly #options: ClientOptions;
  readonly #members: Members;
  readonly #connection: PrincipalConnection;

  constructor(options: ClientOptions) {
    this.#options = options;
    const {
      host,
      port,
      others = [],
      remembered = [],
      preferredBy,
      returns = false,
      curve,
      timeoutMs,
      lookMs,
    } = options;
    this.#members = new Members([{ host, port }, ...others], { remembered, preferredBy });
    this.#connection = new PrincipalConnection({
      members: this.#members,
      curve,
      timeoutMs,
      returns,
      lookMs,
      moved: (place) => void this.#greet(place),
      look: () => void this.#lookAround(),
    });
  }

  /** The member that it uses, as `HOST:PORT`. */
  get address(): string {
    return this.place.address;
  }

  /** All members that it may use, as text. */
  get addresses(): string {
    return this.#members.named;
  }

  /** The member that it uses. */
  get place(): Place {
    return this.#members.current;
  }

  /** All members that it may use. */
  get places(): readonly Place[] {
    return this.#members.all;
  }

  get host(): string {
    return this.place.host;
  }

  get port(): number {
    return this.place.port;
  }

  /** The keys with which it connects, which are those for the principal's other sockets too. */
  get curve(): CurveClientKeys | undefined {
    return this.#options.curve;
  }

  /**
   * Sends a request and waits for its reply, repeating it when none comes. The fields of a request that changes state must have
   * its idempotency key, as {@link call} demands.
   * @throws RequestRefusedError for `CLIENTERROR`, RequestUnprocessableError for `UNPROC`, PrincipalFailedError for `SERVERERROR`
   * @throws PrincipalUnreachableError when no attempt was answered
   */
  async request(verb: Verb, fields: readonly string[] = [], options: RequestOptions = {}): Promise<Reply> {
    const attempts = options.attempts ?? this.#options.attempts ?? 1;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs;
    const exchange = (request: readonly string[]) =>
      this.#connection.exchange(encodeFields(request), { attempts, timeoutMs, signal: options.signal });
    const begun = performance.now();
    const greeting =
      this.#connection.hasMet || ORIGINAL_VERBS.has(verb) ? PRESUMED : await exchange(["PING"]);
    const reply =
      greeting === undefined || isWithoutLeader(greeting) ? greeting : await exchange([verb, ...fields]);
    if (reply === undefined) throw this.#unreachable(verb, attempts * timeoutMs, performance.now() - begun);
    switch (reply.kind) {
      case "CLIENTERROR":
        if (UNKNOWN_VERB.test(reply.payload)) throw this.#verbUnknown(verb);
        if (ORIGINAL_UNKNOWN_VERB.test(reply.payload)) throw this.#leaveOriginal();
        throw new RequestRefusedError(reply.payload);
      case "UNPROC":
        if (isWithoutLeader(reply)) throw new NoLeaderError(reply.payload);
        throw new RequestUnprocessableError(reply.payload);
      case "SERVERERROR":
        throw new PrincipalFailedError(`The principal at ${this.address} failed: ${reply.payload}`);
      default:
        return reply;
    }
  }

  /**
   * Calls a verb and returns its parsed reply; see {@link request}. A long poll adds its wait to the timeout.
   * @throws PrincipalFailedError also when the reply does not match its schema
   */
  async call<V extends Verb>(
    verb: V,
    request: RequestFor<V>,
    options: RequestOptions = {},
  ): Promise<ReplyOf<V>> {
    const entry: VerbEntry = VERBS[verb];
    const timeoutMs = (options.timeoutMs ?? this.#options.timeoutMs) + waitOf(entry, request);
    const reply = await this.request(verb, fieldsOf(entry, request), { ...options, timeoutMs });
    return parse(entry.reply, reply) as ReplyOf<V>;
  }

  /** @throws PrincipalUnreachableError when no principal answers */
  async ping(options?: RequestOptions): Promise<void> {
    await this.call("PING", {}, options);
  }

  async info(options?: RequestOptions): Promise<PrincipalInfo> {
    const info = await this.call("PRINCIPALINFO", {}, options);
    const { logPorts } = this.place;
    if (this.#members.learn(info)) this.signals.emit("members", this.#members.learned);
    if (this.#members.hasOthers && !Bun.deepEquals(logPorts, this.place.logPorts))
      this.signals.emit("moved", this.place);
    return info;
  }

  /** All workflows by id. */
  listWorkflows(options?: RequestOptions) {
    return this.call("LSWORKFLOWS", {}, options);
  }

  getWorkflow(workflowId: string, options?: RequestOptions) {
    return this.call("GETWORKFLOW", { workflow_id: workflowId }, options);
  }

  /** Waits until the workflows have changed since `revision`; returns the new revision. */
  async watchWorkflows(watch: RequestFor<"WATCHWORKFLOWS">, options?: RequestOptions): Promise<string> {
    return (await this.call("WATCHWORKFLOWS", watch, options)).revision;
  }

  /** What schedules will do. @throws VerbUnknownError by principals that do not forecast */
  forecast(request: RequestFor<"FORECAST">, options?: RequestOptions) {
    return this.call("FORECAST", request, options);
  }

  /** Triggers a workflow; resolves when the run is on the principal's disk. */
  runTask(workflowId: string, run: RequestFor<"RUNTASK">["options"], options?: RequestOptions) {
    return this.call("RUNTASK", { workflow_id: workflowId, options: run }, options);
  }

  /** Newest first. */
  listRuns(filter: RequestFor<"LSRUNS">, options?: RequestOptions) {
    return this.call("LSRUNS", { ...filter, waiting: true }, options);
  }

  /** With `outputs`, the tasks have what they published, unless that is too large for one reply. */
  getRun(runId: string, { outputs, ...options }: RequestOptions & { readonly outputs?: boolean } = {}) {
    const request = { workflow_instance_id: runId, waiting: true, ...(outputs === true ? { outputs } : {}) };
    return this.call("GETRUN", request, options);
  }

  /** A page of the items of a fan-out, in order. @throws VerbUnknownError by principals that do not know fan-outs */
  listItems(request: RequestFor<"LSITEMS">, options?: RequestOptions) {
    return this.call("LSITEMS", request, options);
  }

  /** Waits until the run has ended, at most `waitMs`; returns its present state. */
  waitRun(runId: string, waitMs: number, options?: RequestOptions) {
    return this.call("WAITRUN", { workflow_instance_id: runId, wait_ms: waitMs, waiting: true }, options);
  }

  /** @param options.hooks also stops the hooks of a run whose tasks were cancelled before */
  cancelRun(runId: string, { hooks = false, ...options }: RequestOptions & { hooks?: boolean } = {}) {
    return this.call("CANCELRUN", { workflow_instance_id: runId, ...(hooks ? { hooks } : {}) }, options);
  }

  retryRun(retry: RequestFor<"RETRYRUN">, options?: RequestOptions) {
    return this.call("RETRYRUN", retry, options);
  }

  /** @throws VerbUnknownError by principals that do not know pauses */
  pauseWorkflow(pause: RequestFor<"PAUSEWORKFLOW">, options?: RequestOptions) {
    return this.call("PAUSEWORKFLOW", pause, options);
  }

  resumeWorkflow(resume: RequestFor<"RESUMEWORKFLOW">, options?: RequestOptions) {
    return this.call("RESUMEWORKFLOW", resume, options);
  }

  /** The tasks that wait for a person, oldest first. @throws VerbUnknownError by principals that do not know approvals */
  listApprovals(request: RequestFor<"LSAPPROVALS">, options?: RequestOptions) {
    return this.call("LSAPPROVALS", request, options);
  }

  answerApproval(answer: RequestFor<"ANSWERAPPROVAL">, options?: RequestOptions) {
    return this.call("ANSWERAPPROVAL", answer, options);
  }

  /** Lines of the history as text. */
  queryLogs(
    filter: { endMs?: number; startMs?: number; workflowId?: string; runId?: string; verbose?: boolean },
    options?: RequestOptions,
  ) {
    const { endMs, startMs, workflowId, runId, verbose } = filter;
    const request = {
      end_ms: endMs?.toString(),
      start_ms: startMs?.toString(),
      workflow_id: workflowId,
      workflow_instance_id: runId,
      verbose: verbose ? "true" : undefined,
    };
    return this.call("QUERYLOGS", request, options);
  }

  searchLogs(search: RequestFor<"SEARCHLOGS">, options?: RequestOptions) {
    return this.call("SEARCHLOGS", search, options);
  }

  /** Whether a subscription to the live log has reached its publisher. */
  async isSubscribed(probe: string, options?: RequestOptions): Promise<boolean> {
    return (await this.call("ISSUBSCRIBED", { probe }, options)).subscribed;
  }

  queryDatabase(query: RequestFor<"QUERYDB">, options?: RequestOptions) {
    return this.call("QUERYDB", query, options);
  }

  /** Who did what, oldest first. */
  listAudit(list: RequestFor<"LSAUDIT">, options?: RequestOptions) {
    return this.call("LSAUDIT", list, options);
  }

  registeredAgents(options?: RequestOptions) {
    return this.call("GETREGISTEREDAGENTS", {}, options);
  }

  /** Changes the priority of a run that is not over. */
  setPriority(runId: string, priority: number, options?: RequestOptions): Promise<RunDetails> {
    return this.call("SETPRIORITY", { workflow_instance_id: runId, priority }, options);
  }

  /** The first of what waits, in order. */
  queue(limit: number, options?: RequestOptions): Promise<Queue> {
    return this.call("LSQUEUE", { limit }, options);
  }

  /** The alert files in use, and how their queries do. */
  alertQueries(options?: RequestOptions): Promise<AlertQueryStatus[]> {
    return this.call("LSALERTQUERIES", {}, options);
  }

  pools(options?: RequestOptions): Promise<PoolSummary[]> {
    return this.call("LSPOOLS", {}, options);
  }

  /** Sets the size of a pool; null: that of `_cdktr.yml` counts again. Returns what counts from then on. */
  setPool(
    name: string,
    size: number | null,
    options?: RequestOptions,
  ): Promise<{ size: number | null; used: number }> {
    return this.call("SETPOOL", { name, size }, options);
  }

  /** Sets a secret for tasks. */
  async setSecret(name: string, value: string, options?: RequestOptions): Promise<void> {
    await this.call("SETSECRET", { name, value }, options);
  }

  listSecrets(options?: RequestOptions): Promise<SecretSummary[]> {
    return this.call("LSSECRETS", {}, options);
  }

  async removeSecret(name: string, options?: RequestOptions): Promise<void> {
    await this.call("DROPSECRET", { name }, options);
  }

  async drainAgent(agentId: string, options?: RequestOptions): Promise<void> {
    await this.call("DRAINAGENT", { agent_id: agentId }, options);
  }

  async registerAgent(
    agentId: string,
    description: z.input<typeof AgentDescription>,
    options?: RequestOptions,
  ): Promise<AgentOrders> {
    const orders = await this.call("REGISTERAGENT", { agent_id: agentId, description }, options);
    if (orders === null)
      throw new PrincipalFailedError(`The principal at ${this.address} gave agent ${agentId} no orders.`);
    return orders;
  }

  /** Waits up to `wait_ms` for a run to execute; null when there is none. */
  fetchWorkflow(agentId: string, fetch: RequestFor<"FETCHWORKFLOW">["options"], options?: RequestOptions) {
    return this.call("FETCHWORKFLOW", { agent_id: agentId, options: fetch }, options);
  }

  /** Closes the connection; requests in flight reject. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  /** A member that it has not used before is asked for its ports, and for the others, before anyone hears of it. */
  async #greet(place: Place): Promise<void> {
    try {
      await this.info();
    } catch {
      // Its ports are assumed to be those of the others.
    }
    if (this.place.address === place.address) this.signals.emit("moved", this.place);
  }

  async #lookAround(): Promise<void> {
    if (this.#members.learned.length === 0 && !this.#members.hasOthers) return;
    await this.info().catch(() => {});
  }

  #unreachable(verb: Verb, patienceMs: number, waitedMs: number): PrincipalUnreachableError {
    const isOne = !this.#members.hasOthers;
    const seconds = isOne ? patienceMs / 1000 : Math.ceil(waitedMs / 100) / 10;
    return new PrincipalUnreachableError(
      `No principal answered at ${this.addresses} within ${seconds} s (${verb}).`,
      {
        hint: isOne
          ? "Is it running (cdktr start principal)? CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT set its address."
          : "Is any of them running (cdktr start principal)? CDKTR_PRINCIPALS lists their addresses.",
      },
    );
  }

  /** Disconnects: there is nothing to do with it. */
  #leaveOriginal(): OriginalPrincipalError {
    const error = new OriginalPrincipalError(
      `The principal at ${this.address} is one of the original implementation of cdktr (Rust): this cdktr (${VERSION}) cannot work with it.`,
      {
        hint: "Use the original's own commands and agents with it, or start this cdktr's principal on its workflow files: cdktr start principal.",
      },
    );
    this.#connection.leave(error);
    return error;
  }

  #verbUnknown(verb: Verb): VerbUnknownError {
    return new VerbUnknownError(
      `The principal at ${this.address} does not know ${verb}: it is older than this cdktr (${VERSION}).`,
      {
        hint: "'cdktr doctor' shows its version. Upgrade the principal, or use a cdktr with the same version.",
      },
    );
  }
}

function parse<T>(schema: z.ZodType<T>, reply: Reply): T {
  let json: unknown;
  try {
    json = reply.payload === "" ? null : JSON.parse(reply.payload);
  } catch (error) {
    throw new PrincipalFailedError(`The principal's reply is not JSON: ${reply.payload.slice(0, 80)}`, {
      cause: error,
    });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new PrincipalFailedError(
    `The principal's reply is not understood: ${z.prettifyError(result.error)}`,
    {
      hint: `This cdktr (${VERSION}) and the principal may have incompatible versions: 'cdktr doctor' shows them.`,
    },
  );
}
