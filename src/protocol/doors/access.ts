/**
 * Access control of a secured principal: admits known keys to its sockets, identifies the key behind each message, and follows
 * changes of the key files.
 */
import { createHmac } from "node:crypto";
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { Join, Joined } from "../../contract/messages.ts";
import { type Role, SOCKET_ROLES, type SocketName } from "../../contract/roles.ts";
import { VERBS, type Verb } from "../../contract/verbs.ts";
import { type CdktrError, errorMessage, InvalidInputError } from "../../errors.ts";
import { DirectoryWatch } from "../../host/directory-watch.ts";
import { BackgroundService } from "../../service.ts";
import { quote } from "../../terminal/foreign-text.ts";
import {
  authenticate,
  type CurveKeyPair,
  curvePublicKey,
  type SocketOptions,
  z85Encode,
} from "../../zmq/index.ts";
import type { CurveClientKeys } from "../client.ts";
import type { KeyStore, ServerKeys } from "./key-store.ts";

/** Polling interval for the key files, in case file events do not arrive, ms. */
const RELOAD_MS = 5000;

/** The name of the principal's own key, which no other key can have. */
export const OWN_NAME = "principal";

/** The owner of a key. */
export interface Identity {
  readonly name: string;
  readonly role: Role;
  readonly publicKey: string;
  readonly revoked: boolean;
}

/** The key's role does not allow the request. */
export class ForbiddenError extends InvalidInputError {}

/** What {@link Access} needs. */
export interface AccessOptions {
  readonly store: KeyStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  /** Another one follows the same files and logs their changes; this one only logs whom it refuses. */
  readonly isSecond?: boolean;
  /** Resolves when the other members have what was written to the files, too; there are none by default. */
  readonly share?: () => Promise<void>;
}

/** Events of the access control. */
interface AccessSignals {
  /** Keys were removed: connections with them must be closed. */
  readonly revoked: undefined;
}

/** Holds the current keys. */
export class Access extends BackgroundService<AccessSignals> {
  readonly name = "access";
  readonly #o: AccessOptions;
  /** Prefix of the ZAP domains of this principal's sockets; a process can contain several principals. */
  readonly #id = crypto.randomUUID();
  /** The key of the principal as its own client, once the keys are read. */
  #own: CurveKeyPair | undefined;
  readonly #ends: (() => void)[] = [];
  readonly #complaints = new Set<string>();
  #serverKeys: ServerKeys | undefined;
  #known = new Map<string, Identity>();
  /** Fingerprint of the files when they were last read. */
  #stamp = "";
  #watch: DirectoryWatch | undefined;
  readonly #refresh = this.timer(() => this.#lookAgain());

  constructor(options: AccessOptions) {
    super(options.clock);
    this.#o = options;
  }

  /**
   * Reads the keys. Must be called before the sockets are bound.
   * @throws NotPrivateError, InvalidInputError when the key files are accessible to others, or damaged
   */
  protected override async onStart(): Promise<void> {
    const { store, log } = this.#o;
    this.#serverKeys = store.serverKeys();
    this.#own = ownKeysOf(this.#serverKeys);
    store.removeLeftovers(this.#o.clock.now());
    this.#stamp = store.stamp();
    this.#known = this.#read();
    for (const name of Object.keys(SOCKET_ROLES) as SocketName[]) {
      this.#ends.push(
        await authenticate(this.#domain(name), ({ publicKey, address }) =>
          publicKey === undefined ? undefined : this.#admit(name, publicKey, address),
        ),
      );
    }
    this.#watch = new DirectoryWatch({
      root: store.directory,
      relevant: (_event, path) => path === null || path.endsWith(".json"),
      changed: () => this.#reload(),
      log,
    });
    this.#watch.refresh();
    this.#refresh.every(RELOAD_MS);
    // For changes between reading and watching.
    this.#reload();
  }

  protected override onStop(): void {
    this.#watch?.close();
    for (const end of this.#ends.splice(0)) end();
  }

  #lookAgain(): void {
    this.#watch?.refresh();
    this.#reload();
  }

  /** Options of the principal's sockets. */
  socketOptions(socket: SocketName): SocketOptions {
    if (this.#serverKeys === undefined) throw new Error("the keys are not read yet");
    return { curveServer: true, curveSecretKey: this.#serverKeys.secretKey, zapDomain: this.#domain(socket) };
  }

  /** The keys with which a process of this installation connects to its principal, or to another member. */
  get ownKeys(): CurveClientKeys {
    if (this.#serverKeys === undefined || this.#own === undefined)
      throw new Error("the keys are not read yet");
    return { serverKey: this.#serverKeys.publicKey, ...this.#own };
  }

  /** The owner of a key; undefined for an unknown key. */
  identify(publicKey: string | undefined): Identity | undefined {
    if (publicKey === undefined) return undefined;
    if (publicKey === this.#own?.publicKey)
      return { name: OWN_NAME, role: "admin", publicKey, revoked: false };
    return this.#known.get(publicKey);
  }

  /** Whether a message that arrived on a socket may be processed. */
  admits(userId: string | undefined, socket: SocketName): boolean {
    const identity = this.identify(userId);
    return identity !== undefined && !identity.revoked && SOCKET_ROLES[socket].includes(identity.role);
  }

  /**
   * The owner of the key with which a request came.
   * @throws ForbiddenError when the key was revoked, or its role does not allow the verb
   */
  check(userId: string | undefined, verb: Verb): Identity {
    const identity = this.identify(userId);
    if (identity === undefined || identity.revoked) {
      const name = identity === undefined ? "with which this request came" : identity.name;
      throw new ForbiddenError(`The key ${name} was revoked: this principal no longer accepts it.`, {
        hint: "Ask the operator of the principal for a new one: cdktr keys add, or cdktr join-token create.",
      });
    }
    const allowed = VERBS[verb].roles;
    if (allowed.includes(identity.role)) return identity;
    const needed = allowed.filter((role) => role !== "admin" || allowed.length === 1).join(" or ");
    if (needed === "join") throw new ForbiddenError(`${verb} needs a join token.`);
    throw new ForbiddenError(
      identity.role === "join"
        ? `${verb} needs a key: a join token is only good for joining.`
        : `${verb} needs a key with the role ${needed}; the key ${identity.name} has the role ${identity.role}.`,
      { hint: `On the principal's host: cdktr keys add NAME --role ${allowed[0]}` },
    );
  }

  /**
   * Registers the key of a new host; see {@link KeyStore.join}.
   * @throws CdktrError when the other members cannot be told: the host tries again
   */
  async join(sender: Identity, { public_key, name }: Join): Promise<Pick<Joined, "name" | "role">> {
    const { store, clock, log, share } = this.#o;
    let joined: Pick<Joined, "name" | "role">;
    try {
      joined = store.join(sender.publicKey, public_key, name, clock.now());
    } catch (error) {
      // Someone may have found a token.
      const text = `A host that calls itself ${quote(name)} connected with the key ${sender.name} and was refused: ${errorMessage(error)}`;
      if (this.#firstTime(text)) log.warn(text);
      throw error;
    }
    await share?.();
    this.#reload();
    log.success(`${joined.name} joined with a token: its key has the role ${joined.role}.`);
    return joined;
  }

  #domain(socket: SocketName): string {
    return `${this.#id}/${socket}`;
  }

  #admit(socket: SocketName, publicKey: string, address: string): string | undefined {
    // A client that was just given a key, or lost it, need not wait for file events.
    if (this.#o.store.stamp() !== this.#stamp) this.#reload();
    if (this.admits(publicKey, socket)) return publicKey;
    const identity = this.identify(publicKey);
    const who = identity === undefined ? "an unknown key" : `the key ${identity.name}`;
    const why = identity?.revoked
      ? "it is revoked"
      : identity === undefined
        ? ""
        : `its role is ${identity.role}`;
    const text = `Refused ${who} from ${address}${why && `: ${why}`} (${socket}).`;
    // A client retries again and again.
    if (this.#firstTime(text)) this.#o.log.warn(text);
    return undefined;
  }

  #read(): Map<string, Identity> {
    const { store, clock } = this.#o;
    const broken = (error: CdktrError) => this.#complain(error);
    const known = new Map<string, Identity>();
    for (const { id, public_key } of store.tokens(clock.now(), broken)) {
      known.set(public_key, {
        name: `of join token ${id}`,
        role: "join",
        publicKey: public_key,
        revoked: false,
      });
    }
    for (const { name, role, public_key, revoked_at_ms } of store.clients(broken)) {
      // Even if someone copied the file back: a revoked key stays revoked.
      if (known.get(public_key)?.revoked) continue;
      known.set(public_key, { name, role, publicKey: public_key, revoked: revoked_at_ms !== null });
    }
    return known;
  }

  #reload(): void {
    let known: Map<string, Identity>;
    try {
      this.#stamp = this.#o.store.stamp();
      known = this.#read();
    } catch (error) {
      this.#complain(error);
      return;
    }
    const before = this.#known;
    this.#known = known;
    const { isSecond = false } = this.#o;
    const fresh = [...known.values()].filter(
      ({ role, publicKey }) => role !== "join" && !before.has(publicKey),
    );
    for (const { name, role, revoked } of fresh)
      if (!revoked && !isSecond) this.#o.log.info(`The key ${name} (${role}) is now known.`);
    const lost = [...before.values()].filter(
      ({ publicKey, revoked, role }) =>
        !revoked && role !== "join" && (known.get(publicKey)?.revoked ?? true),
    );
    const isRevoked = ({ publicKey }: Identity) => known.get(publicKey)?.revoked === true;
    for (const [what, keys] of [
      // Including keys that were created and revoked between two reads.
      ["Revoked", [...lost, ...fresh].filter(isRevoked)],
      ["Not known any more", lost.filter((key) => !isRevoked(key))],
    ] as const) {
      if (keys.length === 0 || isSecond) continue;
      const names = keys.map(({ name }) => name).join(", ");
      this.#o.log.warn(`${what}: ${names}. Its connections are closed.`);
    }
    if (lost.length > 0) this.signals.emit("revoked");
  }

  #complain(error: unknown): void {
    const text = errorMessage(error);
    if (this.#firstTime(text) && !this.#o.isSecond) this.#o.log.error(`A key cannot be used: ${text}`);
  }

  #firstTime(text: string): boolean {
    if (this.#complaints.has(text)) return false;
    // Attackers may have many addresses.
    if (this.#complaints.size > 1000) this.#complaints.clear();
    this.#complaints.add(text);
    return true;
  }
}

/**
 * The key pair with which the processes of an installation are clients of their own principal. It is derived from the principal's key,
 * so all members that share that key have the same one, and it is nowhere on disk.
 */
function ownKeysOf({ secretKey }: ServerKeys): CurveKeyPair {
  const secret = z85Encode(
    createHmac("sha256", secretKey).update("the principal as its own client").digest(),
  );
  return { publicKey: curvePublicKey(secret), secretKey: secret };
}
