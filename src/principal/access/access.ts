/**
 * Who may do what at a secured principal: admits known keys to its sockets, tells whose key a message came with, and follows
 * the files of keys as they change.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { Join, Joined } from "../../contract/messages.ts";
import { type Role, SOCKET_ROLES, type SocketName } from "../../contract/roles.ts";
import { VERBS, type Verb } from "../../contract/verbs.ts";
import { type CdktrError, errorMessage, InvalidInputError } from "../../errors.ts";
import { DirectoryWatch } from "../../host/directory-watch.ts";
import type { CurveClientKeys } from "../../protocol/client.ts";
import { BackgroundService } from "../../service.ts";
import { authenticate, curveKeyPair, type SocketOptions } from "../../zmq/index.ts";
import { quote } from "../unknown-name.ts";
import type { KeyStore, ServerKeys } from "./key-store.ts";

/** Where the files' events do not come, they are looked at this often, ms. */
const RELOAD_MS = 5000;

/** Whose key it is. */
export interface Identity {
  readonly name: string;
  readonly role: Role;
  readonly publicKey: string;
  readonly revoked: boolean;
}

/** The key does not allow what was asked for with it. */
export class ForbiddenError extends InvalidInputError {}

/** What {@link Access} needs. */
export interface AccessOptions {
  readonly store: KeyStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

/** What the access signals. */
interface AccessSignals {
  /** Keys that were known are no longer: whoever is connected with them must go. */
  readonly revoked: undefined;
}

/** The keys in force. */
export class Access extends BackgroundService<AccessSignals> {
  readonly name = "access";
  readonly #o: AccessOptions;
  /** Names the domains of this principal's sockets; a process can have several principals. */
  readonly #id = crypto.randomUUID();
  /** The scheduler of the principal is its own client. */
  readonly #own = curveKeyPair();
  readonly #ends: (() => void)[] = [];
  readonly #complaints = new Set<string>();
  #serverKeys: ServerKeys | undefined;
  #known = new Map<string, Identity>();
  /** Of the files when they were last read. */
  #stamp = "";
  #watch: DirectoryWatch | undefined;
  readonly #refresh = this.timer(() => this.#lookAgain());

  constructor(options: AccessOptions) {
    super(options.clock);
    this.#o = options;
  }

  /**
   * Reads the keys. Must come before the sockets are bound.
   * @throws NotPrivateError, InvalidInputError when the files of keys are open to others, or damaged
   */
  protected override async onStart(): Promise<void> {
    const { store, log } = this.#o;
    this.#serverKeys = store.serverKeys();
    store.removeLeftovers(this.#o.clock.now());
    this.#stamp = store.stamp();
    this.#known = this.#read();
    for (const name of Object.keys(SOCKET_ROLES) as SocketName[]) {
      this.#ends.push(
        await authenticate(this.#domain(name), ({ publicKey, address }) =>
          this.#admit(name, publicKey, address),
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
    // What changed between the reading and the watching.
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

  /** With which this process reaches its own principal. */
  get ownKeys(): CurveClientKeys {
    if (this.#serverKeys === undefined) throw new Error("the keys are not read yet");
    return { serverKey: this.#serverKeys.publicKey, ...this.#own };
  }

  /** Whose key it is; undefined for one that is not known. */
  identify(publicKey: string | undefined): Identity | undefined {
    if (publicKey === this.#own.publicKey)
      return { name: "principal", role: "admin", publicKey, revoked: false };
    return publicKey === undefined ? undefined : this.#known.get(publicKey);
  }

  /** Whether what came to a socket is to be taken. */
  admits(userId: string | undefined, socket: SocketName): boolean {
    const identity = this.identify(userId);
    return identity !== undefined && !identity.revoked && SOCKET_ROLES[socket].includes(identity.role);
  }

  /**
   * Whose key a request came with.
   * @throws ForbiddenError when it was revoked, or does not allow that verb
   */
  check(userId: string | undefined, verb: Verb): Identity {
    const identity = this.identify(userId);
    if (identity === undefined || identity.revoked) {
      const name = identity === undefined ? "with which this request came" : identity.name;
      throw new ForbiddenError(
        `The key ${name} was revoked: this principal takes nothing from it any more.`,
        {
          hint: "Ask whoever runs the principal for another one: cdktr keys add, or cdktr join-token create.",
        },
      );
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

  /** Makes the key of a new host known; see {@link KeyStore.join}. */
  join(sender: Identity, { public_key, name }: Join): Pick<Joined, "name" | "role"> {
    const { store, clock, log } = this.#o;
    let joined: Pick<Joined, "name" | "role">;
    try {
      joined = store.join(sender.publicKey, public_key, name, clock.now());
    } catch (error) {
      // Somebody may have found a token.
      const text = `A host that calls itself ${quote(name)} came with the key ${sender.name} and did not get in: ${errorMessage(error)}`;
      if (this.#firstTime(text)) log.warn(text);
      throw error;
    }
    this.#reload();
    log.success(`${joined.name} joined with a token: its key has the role ${joined.role}.`);
    return joined;
  }

  #domain(socket: SocketName): string {
    return `${this.#id}/${socket}`;
  }

  #admit(socket: SocketName, publicKey: string, address: string): string | undefined {
    // Whoever was just given a key, or lost it, need not wait for the files' events.
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
    // A client tries again and again.
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
      // Whoever copied a file there: a key that is revoked stays so.
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
    const fresh = [...known.values()].filter(
      ({ role, publicKey }) => role !== "join" && !before.has(publicKey),
    );
    for (const { name, role, revoked } of fresh)
      if (!revoked) this.#o.log.info(`The key ${name} (${role}) is known now.`);
    const lost = [...before.values()].filter(
      ({ publicKey, revoked, role }) =>
        !revoked && role !== "join" && (known.get(publicKey)?.revoked ?? true),
    );
    const isRevoked = ({ publicKey }: Identity) => known.get(publicKey)?.revoked === true;
    for (const [what, keys] of [
      // Also those that were made and revoked between two looks.
      ["Revoked", [...lost, ...fresh].filter(isRevoked)],
      ["Not known any more", lost.filter((key) => !isRevoked(key))],
    ] as const) {
      if (keys.length === 0) continue;
      const names = keys.map(({ name }) => name).join(", ");
      this.#o.log.warn(`${what}: ${names}. What is connected with it is cut off.`);
    }
    if (lost.length > 0) this.signals.emit("revoked");
  }

  #complain(error: unknown): void {
    const text = errorMessage(error);
    if (this.#firstTime(text)) this.#o.log.error(`A key cannot be used: ${text}`);
  }

  #firstTime(text: string): boolean {
    if (this.#complaints.has(text)) return false;
    // Attackers may have many addresses.
    if (this.#complaints.size > 1000) this.#complaints.clear();
    this.#complaints.add(text);
    return true;
  }
}
