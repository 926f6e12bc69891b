/** Serves the webhooks declared in workflow files: a signed request starts a run. */
import { createHash } from "node:crypto";
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../../clock.ts";
import { cleanTraceparent } from "../../contract/trace-context.ts";
import { errorMessage } from "../../errors.ts";
import type { FileHelper } from "../../host/file-helper/file-helper.ts";
import { HttpDoor } from "../../host/http-door.ts";
import { RequestRefusedError } from "../../protocol/client.ts";
import { pause } from "../../timer.ts";
import { webhooksOf } from "../../workflow/triggers.ts";
import type { RunOptions } from "../event-listener.ts";
import type { DeclaredWorkflow } from "./declaration-source.ts";
import { DeclaredListener, eventOf, paramsFor } from "./declared-listener.ts";
import { RateLimit } from "./rate-limit.ts";
import { SeenSignatures } from "./seen-signatures.ts";
import { WebhookSecrets } from "./webhook-secrets.ts";
import { checkSignature, refusalOfUnsigned } from "./webhook-signature.ts";
import type { WorkflowFeed } from "./workflow-feed.ts";

/** Maximum size of a body, bytes. */
const MAX_BODY_BYTES = 1024 * 1024;
/** Maximum length of a parameter value. */
const MAX_PARAM_BYTES = 64 * 1024;
const MOST_CONNECTIONS = 512;
/** Rate limit per webhook: burst, then requests per second. Only correctly signed requests count. */
const BURST = 100;
const PER_SECOND = 20;
/** Rate limit for wrong signatures per address. Beyond it, requests are refused before their body is read. */
const FAILURES = 20;
const FAILURES_PER_SECOND = 1;
/** Maximum number of addresses to remember. */
const MOST_ADDRESSES = 1000;
/** Addresses of this host, where a proxy may forward both valid and invalid requests. */
const LOOPBACK = /^(::ffff:)?127\.|^::1$/;
/** Retry interval for a port that is in use, ms. */
const BIND_RETRY_MS = 5000;
/** How long open connections may take at shutdown, ms. */
const STOP_MS = 1000;
/** Headers that say nothing about the event, or too much about the sender. */
const LEFT_OUT = /^(authorization|cookie|x-hub-signature(-256)?|x-cdktr-signature)$/;

interface Hook {
  readonly workflow: DeclaredWorkflow;
  readonly method: string;
  readonly secret: string;
  readonly toleranceMs: number;
  readonly limit: RateLimit;
}

/** The address to listen on. */
export interface WebhookOptions {
  readonly host: string;
  readonly port: number;
  /** Directory in which it stores seen signatures. */
  readonly directory: string;
  readonly log: ConsolaInstance;
  readonly clock?: Clock;
  /** Reads the secrets. */
  readonly files: FileHelper;
  /** Where it gets the workflows from; by default it reads them itself. */
  readonly feed?: WorkflowFeed;
}

/** The HTTP server; it listens only while a workflow has a webhook. */
export class WebhookListener extends DeclaredListener {
  override readonly name = "webhook";
  readonly #options: WebhookOptions;
  readonly #clock: Clock;
  /** Undefined until the workflows are known. */
  #hooks: ReadonlyMap<string, Hook> | undefined;
  readonly #secrets: WebhookSecrets;
  /** Wrong signatures by address, most recent last. */
  readonly #failures = new Map<string, RateLimit>();
  #signatures: SeenSignatures | undefined;
  #server: HttpDoor | undefined;
  #binding = false;

  constructor(options: WebhookOptions) {
    super(options.log, options.feed);
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#secrets = new WebhookSecrets(options.files, options.log);
  }

  override async startListening(): Promise<void> {
    this.#signatures ??= new SeenSignatures(this.#options.directory);
    await super.startListening();
  }

  override async stopListening(): Promise<void> {
    await this.#stopServer();
    this.#secrets.close();
    this.#signatures?.close();
  }

  async #stopServer(): Promise<void> {
    await this.#server?.stop(STOP_MS);
  }

  protected override take(workflows: readonly DeclaredWorkflow[]): void {
    const hooks = new Map<string, Hook>();
    for (const workflow of workflows.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
      for (const webhook of webhooksOf(workflow.on)) {
        const other = hooks.get(webhook.path);
        if (other !== undefined) {
          this.log.error(
            `The webhook ${webhook.path} of workflow ${workflow.id} is already used by ${other.workflow.id}`,
          );
          continue;
        }
        const before = this.#hooks?.get(webhook.path);
        hooks.set(webhook.path, {
          workflow,
          method: webhook.method,
          secret: webhook.secret,
          toleranceMs: webhook.tolerance_ms,
          limit: before?.limit ?? new RateLimit(BURST, PER_SECOND, this.#clock.monotonic()),
        });
      }
    }
    this.#hooks = hooks;
    this.#secrets.keep(new Set([...hooks.values()].map(({ secret }) => secret)));
    if (hooks.size > 0) void this.#bind();
    else if (this.#server !== undefined) {
      void this.#server.stop();
      this.#server = undefined;
    }
  }

  async #bind(): Promise<void> {
    if (this.#binding || this.#server !== undefined) return;
    this.#binding = true;
    let told = false;
    while (
      this.#server === undefined &&
      this.#hooks !== undefined &&
      this.#hooks.size > 0 &&
      !this.signal.aborted
    ) {
      try {
        this.#server = new HttpDoor({
          hostname: this.#options.host,
          port: this.#options.port,
          maxRequestBodySize: MAX_BODY_BYTES,
          mostConnections: MOST_CONNECTIONS,
          log: this.log,
          fetch: (request, peer) => this.answer(request, peer),
          error: (error) => {
            this.log.error(`A webhook failed: ${error.message}`);
            return reply(500, { error: "the webhook failed; see the log of the listener" });
          },
        });
        this.log.info(
          `Webhooks are served at http://${this.#options.host}:${this.#server.port}: ${[...this.#hooks.keys()].join(", ")}`,
        );
      } catch (error) {
        if (!told) this.log.error(`Webhooks cannot be served: ${errorMessage(error)}; retrying`);
        told = true;
        await pause(BIND_RETRY_MS, this.signal);
      }
    }
    this.#binding = false;
  }

  /**
   * Answers a request.
   * @param peer the address that it came from
   * @param key the same when the request is repeated, for those that say nothing about that themselves
   */
  async answer(request: Request, peer: string, key: string | null = null): Promise<Response> {
    // Where it was passed on to may have just started.
    if (this.#hooks === undefined)
      return reply(503, { error: "webhooks are not served yet" }, { "Retry-After": "1" });
    const url = new URL(request.url);
    const hook = this.#hooks.get(url.pathname);
    if (hook === undefined) return reply(404, { error: `there is no webhook ${url.pathname}` });
    if (request.method !== hook.method) {
      return reply(405, { error: `this webhook accepts ${hook.method}` }, { Allow: hook.method });
    }
    if (hook.secret !== "none") {
      const unsigned = refusalOfUnsigned(request.headers);
      if (unsigned !== undefined) return reply(unsigned.status, { error: unsigned.why });
      if (!LOOPBACK.test(peer) && this.#failures.get(peer)?.isEmpty(this.#clock.monotonic()))
        return reply(429, { error: "too many wrong signatures from this address" }, { "Retry-After": "60" });
    }
    let body: Uint8Array;
    try {
      body = new Uint8Array(await request.arrayBuffer());
    } catch (error) {
      return reply(400, { error: `the body is incomplete: ${errorMessage(error)}` });
    }
    let secret: string | null;
    try {
      secret = await this.#secrets.get(hook.secret);
    } catch (error) {
      this.log.error(`The webhook ${url.pathname} has no secret: ${errorMessage(error)}`);
      return reply(503, { error: "the webhook is not set up; see the log of the listener" });
    }
    const verdict = checkSignature(request.headers, body, secret, {
      nowMs: this.#clock.now(),
      toleranceMs: hook.toleranceMs,
    });
    if (!verdict.ok) {
      this.#failed(peer);
      return reply(verdict.status, { error: verdict.why });
    }
    if (!hook.limit.take(this.#clock.monotonic())) {
      return reply(
        429,
        { error: `too many requests: ${PER_SECOND} per second are accepted` },
        { "Retry-After": "1" },
      );
    }
    // It contains no timestamp.
    if (verdict.scheme === "github") {
      const problem = this.#replayed(verdict.signature, verdict.deliveryId ?? "");
      if (problem !== undefined) return problem;
    }
    const offered = offeredBy(request, url, body, verdict.deliveryId);
    if (offered instanceof Response) return offered;
    const params = paramsFor(hook.workflow, offered);
    const long = Object.keys(params).find((name) => Buffer.byteLength(params[name] ?? "") > MAX_PARAM_BYTES);
    if (long !== undefined) {
      return reply(413, { error: `the parameter ${long} would be longer than ${MAX_PARAM_BYTES} bytes` });
    }
    const traceparent = cleanTraceparent(request.headers.get("traceparent"));
    const what = {
      params,
      ...eventOf(hook.workflow, offered),
      ...(traceparent === null ? {} : { traceparent }),
    };
    return this.#trigger(hook, what, verdict.deliveryId ?? verdict.signature ?? key);
  }

  async #trigger(
    hook: Hook,
    what: Pick<RunOptions, "params" | "event" | "traceparent">,
    event: string | null,
  ): Promise<Response> {
    const { id } = hook.workflow;
    const dedupeKey =
      event === null ? undefined : `webhook:${id}:${createHash("sha256").update(event).digest("hex")}`;
    try {
      const { dedupe_key: _, ...triggered } = await this.runWorkflow(id, { ...what, dedupeKey });
      return reply(202, { workflow_id: id, ...triggered });
    } catch (error) {
      if (error instanceof RequestRefusedError) return reply(422, { error: error.message });
      return reply(503, { error: errorMessage(error) }, { "Retry-After": "5" });
    }
  }

  /** Counts a wrong signature. */
  #failed(peer: string): void {
    const now = this.#clock.monotonic();
    const limit = this.#failures.get(peer) ?? new RateLimit(FAILURES, FAILURES_PER_SECOND, now);
    limit.take(now);
    this.#failures.delete(peer);
    this.#failures.set(peer, limit);
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > MOST_ADDRESSES && oldest !== undefined) this.#failures.delete(oldest);
  }

  #replayed(signature: string, deliveryId: string): Response | undefined {
    try {
      if (this.#signatures?.see(signature, deliveryId, this.#clock.now()) !== "replayed") return undefined;
      return reply(409, {
        error: "this signature was used before, with another delivery id or more than 6 days ago",
      });
    } catch (error) {
      this.log.error(`Seen signatures cannot be looked up: ${errorMessage(error)}`);
      return reply(503, { error: "the request cannot be checked now" }, { "Retry-After": "5" });
    }
  }
}

/** The values that a request offers as parameters: the fields of a JSON body, and some about the request itself. */
function offeredBy(
  request: Request,
  url: URL,
  body: Uint8Array,
  deliveryId: string | null,
): Record<string, string> | Response {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    return reply(400, { error: "the body is not UTF-8" });
  }
  const offered: Record<string, string> = {};
  if (/\bjson\b/i.test(request.headers.get("content-type") ?? "") && text !== "") {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      return reply(400, { error: `the body is not JSON: ${errorMessage(error)}` });
    }
    if (typeof json === "object" && json !== null && !Array.isArray(json)) {
      for (const [name, value] of Object.entries(json)) {
        offered[name] = typeof value === "string" ? value : JSON.stringify(value);
      }
    }
  }
  const headers = [...request.headers].filter(([name]) => !LEFT_OUT.test(name));
  return {
    ...offered,
    body: text,
    headers: JSON.stringify(Object.fromEntries(headers)),
    query: JSON.stringify(Object.fromEntries(url.searchParams)),
    delivery_id: deliveryId ?? "",
  };
}

function reply(status: number, json: unknown, headers: Record<string, string> = {}): Response {
  return Response.json(json, { status, headers });
}
