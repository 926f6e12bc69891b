/**
 * Who gets in without keys on loopback: processes of the principal's own user, and root. As with cron, no other user of the host can run
 * programs as that user. The kernel says whose a connection is when it is accepted; libzmq waits with the handshake until that is known.
 */
import { readFileSync } from "node:fs";
import type { ConsolaInstance } from "consola";
import { SOCKET_ROLES, type SocketName } from "../../contract/roles.ts";
import { ownerOf } from "../../host/connection-owner.ts";
import { endConnection } from "../../host/connections.ts";
import { BackgroundService } from "../../service.ts";
import { authenticate, type Message, type Socket, type SocketOptions } from "../../zmq/index.ts";
import { ForbiddenError } from "./access.ts";

const ROOT = 0;
/** Number of connections to remember that have sent a request; others are looked at again. */
const REMEMBERED = 20_000;

/** An accepted connection. Whatever happens is numbered: descriptors are reused. */
interface Accepted {
  readonly at: number;
  /** Undefined when the peer was gone before the kernel was asked. */
  readonly uid: number | undefined;
}

/** Admits peers by their user id. */
export class LocalPeers extends BackgroundService {
  readonly name = "local peers";
  readonly #log: ConsolaInstance;
  readonly #own = process.getuid?.() ?? ROOT;
  readonly #id = crypto.randomUUID();
  readonly #sockets = new Map<SocketName, Socket>();
  readonly #accepted = new Map<number, Accepted>();
  /** The owners of connections to the API, by the token that their messages carry. */
  readonly #owners = new Map<string, number | undefined>();
  readonly #names = new Map<number, string>();
  readonly #told = new Set<string>();
  readonly #ends: (() => void)[] = [];
  #now = 0;

  constructor(options: { log: ConsolaInstance }) {
    super();
    this.#log = options.log;
  }

  protected override async onStart(): Promise<void> {
    for (const name of Object.keys(SOCKET_ROLES) as SocketName[])
      this.#ends.push(await authenticate(this.#domain(name), () => this.#admit(name)));
  }

  protected override onStop(): void {
    for (const end of this.#ends.splice(0)) end();
    this.#sockets.clear();
  }

  /** Options of the principal's sockets. */
  socketOptions(name: SocketName): SocketOptions {
    return { zapDomain: this.#domain(name) };
  }

  /** Looks at the connections of a socket from now on; called before it is bound. */
  guard(name: SocketName, socket: Socket): void {
    this.#sockets.set(name, socket);
    socket.acceptEvents.on("accepted", ({ descriptor = -1 }) => this.#look(name, descriptor));
  }

  /**
   * Refuses a request to the API that came from another user.
   * @returns the name of the user
   * @throws ForbiddenError
   */
  check({ userId = "", descriptor = -1 }: Pick<Message, "userId" | "descriptor">): string {
    if (!this.#owners.has(userId)) {
      if (this.#owners.size >= REMEMBERED) this.#owners.clear();
      this.#owners.set(userId, this.#ownerAt(descriptor, Number(userId)));
    }
    const uid = this.#owners.get(userId);
    if (uid !== undefined && this.#isAdmitted(uid)) {
      const name = this.#names.get(uid) ?? nameOf(uid);
      this.#names.set(uid, name);
      return name;
    }
    throw new ForbiddenError(
      `This principal has no keys, so it serves only processes of the user ${nameOf(this.#own)}${this.#own === ROOT ? "" : " and of root"}; this one belongs to ${uid === undefined ? "an unknown user" : `user id ${uid}`}.`,
      {
        hint: "Run the command as that user, or set up keys with 'cdktr keys init', or start the principal with --insecure to serve every user of this host.",
      },
    );
  }

  #isAdmitted(uid: number | undefined): boolean {
    return uid === this.#own || uid === ROOT;
  }

  /** The owner of the connection on a descriptor, if it was accepted before `token` was given to it. */
  #ownerAt(descriptor: number, token: number): number | undefined {
    const accepted = this.#accepted.get(descriptor);
    return accepted !== undefined && accepted.at < token ? accepted.uid : undefined;
  }

  /** Every connection that asks has been looked at before it is answered: strangers can only talk to the API, which says why it refuses. */
  async #admit(name: SocketName): Promise<string> {
    this.#sockets.get(name)?.acceptEvents.catchUp();
    await Promise.resolve();
    return String(++this.#now);
  }

  #look(name: SocketName, descriptor: number): void {
    const uid = ownerOf(descriptor);
    if (name === "api") this.#accepted.set(descriptor, { at: ++this.#now, uid });
    if (this.#isAdmitted(uid)) return;
    if (name !== "api") endConnection(descriptor);
    const who = uid === undefined ? "a process that had ended" : `a process of user id ${uid}`;
    const text = `Refused ${who} (${name}): without keys only user id ${this.#own}${this.#own === ROOT ? "" : " and root"} may connect.`;
    if (this.#told.has(text)) return;
    this.#told.add(text);
    if (uid === undefined) this.#log.debug(text);
    else this.#log.warn(text);
  }

  #domain(name: SocketName): string {
    return `${this.#id}/${name}`;
  }
}

/** The name of a user, or its id where it has none. */
function nameOf(uid: number): string {
  try {
    const users = readFileSync("/etc/passwd", "utf8").split("\n");
    const user = users.map((line) => line.split(":")).find((fields) => fields[2] === String(uid));
    return user?.[0] ?? `id ${uid}`;
  } catch {
    return `id ${uid}`;
  }
}
