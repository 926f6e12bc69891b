/**
 * The client of a principal's API: many requests in flight over one DEALER socket, each matched to its reply by an id in
 * front of the empty delimiter, which the principal's ROUTER echoes (the envelope of ZeroMQ's request-reply pattern, RFC 28).
 */
import { z } from "zod";
import { VERSION } from "../build-facts.ts";
import type {
  AgentDescription,
  AgentOrders,
  AlertQueryStatus,
  PoolSummary,
  Queue,
  RunDetails,
  SecretSummary,
} from "../contract/messages.ts";
import { fieldsOf, type VerbEntry, waitOf } from "../contract/verb-entry.ts";
import { type ReplyOf, type RequestFor, VERBS, type Verb } from "../contract/verbs.ts";
import { decodeReply, encodeFields, type Reply } from "../contract/wire.ts";
import { CdktrError, InvalidInputError, PrincipalUnreachableError, UnprocessableError } from "../errors.ts";
import { Timer } from "../timer.ts";
import { Dealer, hostAndPort } from "../zmq/index.ts";
import { CLIENT_SOCKET } from "./client-socket.ts";
import { type CurveClientKeys, curveOptions, watchHandshakes } from "./handshake.ts";

export { AccessRefusedError, type CurveClientKeys, curveOptions } from "./handshake.ts";

/** The address of the principal, keys and timeouts. */
export interface ClientOptions {
  readonly host: string;
  readonly port: number;
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

interface Pending {
  readonly ids: string[];
  readonly settle: (reply: Reply | Error) => void;
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

/** How principals of all versions begin the reply to an unknown verb. */
const UNKNOWN_VERB = /^There is no verb "/;
/** How one of the original implementation replies to it. */
const ORIGINAL_UNKNOWN_VERB = /Unrecognised message type/;

/** A connection to one principal. It connects at the first request and reconnects by itself. */
export class PrincipalClient {
  readonly address: string;
  readonly #options: ClientOptions;
  readonly #pending = new Map<string, Pending>();
  readonly #prefix = crypto.randomUUID().slice(0, 8);
  #socket: Dealer | undefined;
  #receiving: Promise<void> = Promise.resolve();
  readonly #outgoing: [id: string, frame: Uint8Array][] = [];
  #sending = false;
  /** Whether a principal has replied on the present connection. */
  #hasMet = false;
  #counter = 0;
  #closed = false;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.address = hostAndPort(options.host, options.port);
  }

  get host(): string {
    return this.#options.host;
  }

  get port(): number {
    return this.#options.port;
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
      this.#exchange(encodeFields(request), attempts, timeoutMs, options.signal);
    const isGreeted = this.#hasMet || ORIGINAL_VERBS.has(verb) || (await exchange(["PING"])) !== undefined;
    const reply = isGreeted ? await exchange([verb, ...fields]) : undefined;
    if (reply === undefined) {
      const seconds = (attempts * timeoutMs) / 1000;
      throw new PrincipalUnreachableError(
        `No principal answered at ${this.address} within ${seconds} s (${verb}).`,
        {
          hint: "Is it running (cdktr start principal)? CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT set its address.",
        },
      );
    }
    switch (reply.kind) {
      case "CLIENTERROR":
        if (UNKNOWN_VERB.test(reply.payload)) throw this.#verbUnknown(verb);
        if (ORIGINAL_UNKNOWN_VERB.test(reply.payload)) throw this.#leaveOriginal();
        throw new RequestRefusedError(reply.payload);
      case "UNPROC":
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

  info(options?: RequestOptions) {
    return this.call("PRINCIPALINFO", {}, options);
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
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#failAll(closedError());
    this.#socket?.close();
    await this.#receiving;
  }

  /** Disconnects: there is nothing to do with it. */
  #leaveOriginal(): OriginalPrincipalError {
    const error = new OriginalPrincipalError(
      `The principal at ${this.address} is one of the original implementation of cdktr (Rust): this cdktr (${VERSION}) cannot work with it.`,
      {
        hint: "Use the original's own commands and agents with it, or start this cdktr's principal on its workflow files: cdktr start principal.",
      },
    );
    this.#failAll(error);
    this.#socket?.close();
    this.#socket = undefined;
    this.#hasMet = false;
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

  /** The reply, or undefined when no attempt was answered. A late reply to an earlier attempt counts. */
  async #exchange(
    frame: Uint8Array,
    attempts: number,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Reply | undefined> {
    signal?.throwIfAborted();
    const ids: string[] = [];
    let left = attempts;
    const timer = new Timer(() => attempt());
    const { promise, resolve } = Promise.withResolvers<Reply | Error | undefined>();
    const onAbort = () => resolve(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal?.addEventListener("abort", onAbort, { once: true });
    const pending: Pending = { ids, settle: resolve };
    const attempt = () => {
      if (left-- === 0) return resolve(undefined);
      const id = `${this.#prefix}-${++this.#counter}`;
      ids.push(id);
      this.#pending.set(id, pending);
      timer.in(timeoutMs);
      try {
        this.#send(id, frame);
      } catch (error) {
        resolve(error instanceof Error ? error : new Error(String(error)));
      }
    };
    try {
      attempt();
      const outcome = await promise;
      if (outcome instanceof Error) throw outcome;
      return outcome;
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      for (const id of ids) this.#pending.delete(id);
    }
  }

  #send(id: string, frame: Uint8Array): void {
    if (this.#closed) throw closedError();
    this.#socket ??= this.#connect();
    // Without a connection, expired requests would pile up.
    while (this.#outgoing[0] !== undefined && !this.#pending.has(this.#outgoing[0][0]))
      this.#outgoing.shift();
    this.#outgoing.push([id, frame]);
    if (!this.#sending) void this.#pump(this.#socket);
  }

  /** Sends queued requests one at a time. Without a connection none leaves the queue, so a request that expires is never sent. */
  async #pump(socket: Dealer): Promise<void> {
    this.#sending = true;
    try {
      for (let next = this.#outgoing.shift(); next !== undefined; next = this.#outgoing.shift()) {
        const [id, frame] = next;
        await socket.send([id, "", frame], () => this.#pending.has(id));
      }
    } catch (error) {
      if (!this.#closed) this.#failAll(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#sending = false;
    }
  }

  #failAll(error: Error): void {
    for (const pending of new Set(this.#pending.values())) pending.settle(error);
  }

  #connect(): Dealer {
    const socket = new Dealer({
      ...CLIENT_SOCKET,
      immediate: true,
      sendHighWaterMark: 0,
      receiveHighWaterMark: 0,
      ...curveOptions(this.#options.curve),
    });
    const endpoint = `tcp://${this.address}`;
    // Requests in flight fail at once; the next one tries again.
    watchHandshakes(socket, endpoint, this.address, this.#options.curve, (error) => this.#failAll(error));
    // Another principal may answer at the same address next.
    socket.events.on("disconnected", () => {
      this.#hasMet = false;
    });
    socket.connect(endpoint);
    this.#receiving = this.#receive(socket);
    return socket;
  }

  async #receive(socket: Dealer): Promise<void> {
    for await (const parts of socket) {
      const [id, , frame] = parts;
      if (id === undefined || frame === undefined) continue;
      this.#hasMet = true;
      const pending = this.#pending.get(Buffer.from(id).toString());
      if (pending === undefined) continue;
      try {
        pending.settle(decodeReply(frame));
      } catch (error) {
        pending.settle(error as Error);
      }
    }
  }
}

function closedError(): Error {
  return new UnprocessableError("The connection to the principal was closed.");
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
