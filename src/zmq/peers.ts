/** Who is connected to a CURVE server: a ZAP handler decides only who comes in, but libzmq tells over which descriptor a message came. */
import { connectionId, endConnections } from "./connections.ts";

/** A connection that was accepted. */
export interface Connection {
  /** No other connection of this machine has had it; undefined where the kernel does not say. */
  readonly id: bigint | undefined;
  /** Whose it is; undefined while no message of it was received. */
  readonly userId: string | undefined;
}

/** The connections of one socket. */
export class Peers {
  /** By descriptor. Descriptors are used again: the id tells whether it is still the same connection. */
  readonly #known = new Map<number, { id: bigint; userId: string }>();

  /** A message of a user came over a connection. */
  heard(descriptor: number, userId: string): void {
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
