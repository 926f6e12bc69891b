/** Answers requests with the services of this process. */
import type { ConsolaInstance } from "consola";
import type { VerbEntry } from "../../contract/verb-entry.ts";
import { VERBS, type Verb } from "../../contract/verbs.ts";
import { encodeReply } from "../../contract/wire.ts";
import type { Access, Identity } from "../../protocol/doors/access.ts";
import type { AgentKeys } from "../agents/agent-keys.ts";
import { unaudited } from "../audit/audit.ts";
import type { AuditLog } from "../audit/audit-log.ts";
import type { ApiCall, ApiTarget } from "./api-target.ts";
import type { Handlers } from "./handlers.ts";
import { type PeerTraits, refuseOriginalAgent } from "./original-clients.ts";
import { parseRequest, type Request } from "./requests.ts";

/** What {@link LocalTarget} needs. */
export interface LocalTargetOptions {
  readonly handlers: Handlers;
  /** Which verbs a key may use, and for which agents it may speak. Without keys every peer may use every verb. */
  readonly keys?: { readonly access: Access; readonly agentKeys?: AgentKeys } | undefined;
  readonly audit?: AuditLog | undefined;
  readonly log: ConsolaInstance;
}

/** The handlers of this process, and who may use them. */
export class LocalTarget implements ApiTarget {
  readonly #o: LocalTargetOptions;

  constructor(options: LocalTargetOptions) {
    this.#o = options;
  }

  async answer({ request, userId, traits, key }: ApiCall): Promise<Uint8Array> {
    return this.#dispatch(request, this.#o.keys?.access.check(userId, request.verb), traits, key);
  }

  async refused({ request, userId, traits }: ApiCall, why: { error: unknown; text: string }): Promise<void> {
    const from = { sender: this.#o.keys?.access.identify(userId), ...traits };
    await this.#o.audit?.refused(request.verb, () => readable(request), from, why);
  }

  /** Parses a request, checks that its sender may speak for the agent it names, handles it, and writes the reply. */
  async #dispatch<V extends Verb>(
    request: Request<V>,
    sender: Identity | undefined,
    traits: PeerTraits,
    key: string | undefined,
  ): Promise<Uint8Array> {
    const { handlers, keys, audit: auditLog, log } = this.#o;
    const { verb } = request;
    refuseOriginalAgent(request, traits, log);
    const entry: VerbEntry = VERBS[verb];
    const parsed = parseRequest(request);
    if (key !== undefined) addKey(entry, parsed, key);
    if (traits.heldMs !== undefined) shortenWait(entry, parsed, traits.heldMs);
    if (sender !== undefined) keys?.agentKeys?.checkSpeaker(sender, entry, parsed);
    const audit = auditLog?.of(verb, parsed, { sender, ...traits }) ?? unaudited;
    const reply = await handlers[verb](parsed, sender, traits, audit);
    const { answers = "SUCCESS" } = entry;
    if (reply === null) return encodeReply(answers === "PONG" ? answers : "OK");
    return encodeReply(answers, JSON.stringify(reply));
  }
}

/** A request that may be invalid. */
function readable(request: Request): object | null {
  try {
    return parseRequest(request);
  } catch {
    return null;
  }
}

/** Gives a request an idempotency key if it has none. */
function addKey({ changes }: VerbEntry, request: object, key: string): void {
  if (typeof changes === "object") change(request, changes.key, (known) => known ?? key);
}

/** Its sender waits no longer for a long poll because it was held. */
function shortenWait({ waits }: VerbEntry, request: object, heldMs: number): void {
  if (waits === undefined) return;
  change(request, waits, (ms) => (typeof ms === "number" ? Math.max(0, Math.floor(ms - heldMs)) : ms));
}

/** Changes a field of a request; a dot leads into an object. */
function change(request: object, field: string, to: (value: unknown) => unknown): void {
  const path = field.split(".");
  const last = path.pop() ?? "";
  const holder = path.reduce<unknown>((at, name) => Object(at)[name], request);
  if (typeof holder !== "object" || holder === null) return;
  const values = holder as Record<string, unknown>;
  values[last] = to(values[last]);
}
