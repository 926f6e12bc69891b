/** Maps the connections of a CURVE server to users: the ZAP handler only admits peers, but libzmq reports on which descriptor a message arrived. */
import { connectionId, endConnections } from "../host/connections.ts";

/** An accepted connection. */
export interface Connection {
  /** The socket cookie; undefined where the kernel does not provide it. */
  readonly id: bigint | undefined;
  /** Its user; undefined until a message was received on it. */
  readonly userId: string | undefined;
}

/** The connections of one socket. */
export class Peers {
  readonly #hasUsers: boolean;
  /** By descriptor. Descriptor numbers are reused; the id tells whether it is still the same connection. */
  readonly #known = new Map<number, { id: bigint; userId: string }>();

  /** @param hasUsers whether peers prove who they are: only of those is it remembered whose a connection is */
  constructor(hasUsers: boolean) {
    this.#hasUsers = hasUsers;
  }

  /** Records that a message of a user arrived on a connection. */
  heard(descriptor: number, userId: string): void {
    if (!this.#hasUsers) return;
    const id = descriptor < 0 ? undefined : connectionId(descriptor);
    if (id === undefined) return;
    const known = this.#known.get(descriptor);
    if (known?.id !== id || known.userId !== userId) this.#known.set(descriptor, { id, userId });
  }

  /** See {@link Socket.endConnections}. */
  end(ports: ReadonlySet<number>, isOver: (connection: Connection) => boolean): number {
    return endConnections(ports, ({ descriptor, id }) => {
      const known = this.#known.get(descriptor);
      return isOver({ id, userId: known?.id === id ? known?.userId : undefined });
    });
  }
}
