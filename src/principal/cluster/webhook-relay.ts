/** The port for webhooks of a member that does not lead: what arrives is passed on to the leader, with the address that it came from. */
import type { ConsolaInstance } from "consola";
import type { DeliverWebhook, WebhookAnswer } from "../../contract/messages.ts";
import { decodeReply, encodeFields } from "../../contract/wire.ts";
import { CdktrError, errorMessage } from "../../errors.ts";
import { HttpDoor } from "../../host/http-door.ts";
import type { Access } from "../../protocol/doors/access.ts";
import { BackgroundService } from "../../service.ts";
import type { ApiTarget } from "../api/api-target.ts";

const MAX_BODY_BYTES = 1024 * 1024;
const MOST_CONNECTIONS = 512;
/** A leader is waited for this long, ms; a reply takes longer than that only when the leader is slow. */
const DEADLINE_MS = 15_000;
/** Interval of attempts to bind a port that is taken, ms. */
const BIND_RETRY_MS = 5000;
/** How often a leader is asked again that does not know its workflows yet, and for how long, ms. */
const AGAIN_MS = 200;
const KEEPS_ASKING_MS = 5000;
/** How long open connections may take at shutdown, ms. */
const STOP_MS = 1000;

/** The `Retry-After` of a leader that does not know its workflows yet. */
const NOT_SERVED_YET = "1";

/** What {@link WebhookRelay} needs. */
export interface WebhookRelayOptions {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  /** What answers requests at this member. */
  readonly door: ApiTarget;
  /** Absent without keys. */
  readonly access: Access | undefined;
  readonly log: ConsolaInstance;
}

/** Runs while this member does not lead. */
export class WebhookRelay extends BackgroundService {
  readonly name = "webhook relay";
  readonly #o: WebhookRelayOptions;
  #server: HttpDoor | undefined;
  #hasTold = false;
  /** Ends a request that waits for a leader: this member is about to lead, or to stop. */
  readonly #waiting = new Set<(reply: null) => void>();
  readonly #again = this.timer(() => this.#bind());

  constructor(options: WebhookRelayOptions) {
    super();
    this.#o = options;
  }

  /** The bound port; 0 while it is taken by something else. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  protected override onStart(): void {
    this.#bind();
  }

  protected override async onStop(): Promise<void> {
    for (const giveUp of this.#waiting) giveUp(null);
    await this.#server?.stop(STOP_MS);
    this.#server = undefined;
  }

  /** Without the port, this member still serves everything else. */
  #bind(): void {
    const { host, port, log } = this.#o;
    try {
      this.#server = new HttpDoor({
        hostname: host,
        port,
        maxRequestBodySize: MAX_BODY_BYTES,
        mostConnections: MOST_CONNECTIONS,
        deadlineMs: DEADLINE_MS,
        log,
        fetch: (request, peer) => this.#passOn(request, peer),
        error: (error) => unavailable(error.message),
      });
    } catch (error) {
      const text = `Webhooks that arrive at this host cannot be passed on (CDKTR_WEBHOOK_PORT): ${errorMessage(error)}`;
      if (this.#hasTold) log.debug(text);
      else log.warn(text);
      this.#hasTold = true;
      this.#again.in(BIND_RETRY_MS);
    }
  }

  async #passOn(request: Request, peer: string): Promise<Response> {
    let body: Uint8Array;
    try {
      body = new Uint8Array(await request.arrayBuffer());
    } catch (error) {
      return Response.json({ error: `the body is incomplete: ${errorMessage(error)}` }, { status: 400 });
    }
    const { pathname, search } = new URL(request.url);
    const delivery: DeliverWebhook = {
      method: request.method,
      url: pathname + search,
      headers: Object.fromEntries(request.headers),
      body: Buffer.from(body).toString("base64"),
      peer,
      delivery_key: crypto.randomUUID(),
    };
    try {
      // A leader that has just begun to lead does not know its workflows yet, and many senders do not try again.
      const until = this.clock.monotonic() + KEEPS_ASKING_MS;
      for (;;) {
        const answer = await this.#ask(delivery);
        if (answer instanceof Response) return answer;
        const { status, headers, body: text } = answer;
        const isEarly = status === 503 && headers["retry-after"] === NOT_SERVED_YET;
        if (!isEarly || this.isStopping || this.clock.monotonic() >= until)
          return new Response(text, { status, headers });
        await this.pause(AGAIN_MS);
      }
    } catch (error) {
      if (error instanceof CdktrError) return unavailable(error.message);
      throw error;
    }
  }

  /** The leader's answer, or why there is none. */
  async #ask(delivery: DeliverWebhook): Promise<WebhookAnswer | Response> {
    const verb = "DELIVERWEBHOOK";
    const fields = [JSON.stringify(delivery)];
    const call = {
      request: { verb, fields },
      frame: encodeFields([verb, ...fields]),
      userId: this.#o.access?.ownKeys.publicKey,
      traits: { isPlain: false, isNameless: false },
    } as const;
    const answered = Promise.withResolvers<Uint8Array | null>();
    this.#waiting.add(answered.resolve);
    try {
      this.#o.door.answer(call).then(answered.resolve, answered.reject);
      const reply = await answered.promise;
      if (reply === null) return unavailable("another principal is about to lead, or this one stops");
      const { kind, payload } = decodeReply(reply);
      return kind === "SUCCESS" ? (JSON.parse(payload) as WebhookAnswer) : unavailable(payload);
    } finally {
      this.#waiting.delete(answered.resolve);
    }
  }
}

/** The sender may try again. */
function unavailable(why: string): Response {
  return Response.json({ error: why }, { status: 503, headers: { "Retry-After": "5" } });
}
