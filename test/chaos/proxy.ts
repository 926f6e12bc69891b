/** A bad network: a TCP proxy that can be cut and made slow. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Forwards connections to a port of the same host. */
export class TcpProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut = false;
  #delayMs = 0;

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      if (this.#cut) {
        client.destroy();
        return;
      }
      const server = connect(targetPort, "127.0.0.1");
      this.#join(client, server);
      this.#join(server, client);
    });
  }

  /** Starts a proxy on a free port. */
  static async to(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    await new Promise<void>((done, fail) => {
      proxy.#server.once("error", fail);
      proxy.#server.listen(0, "127.0.0.1", done);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Nothing passes, and connections that stand hang without a word, as on a network that drops packets. */
  cut(): void {
    this.#cut = true;
  }

  /** Each piece of data arrives so many ms late. */
  slow(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** Back to normal. What a cut swallowed is gone, so the connections from before break. */
  heal(): void {
    const wasCut = this.#cut;
    this.#cut = false;
    this.#delayMs = 0;
    if (wasCut) for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Forwards one direction; a chain of promises keeps the order whatever the delay is. */
  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    let last = Promise.resolve();
    from.on("data", (bytes) => {
      if (this.#cut) return;
      const due = performance.now() + this.#delayMs;
      last = last.then(async () => {
        const wait = due - performance.now();
        // The delay of a slow network.
        if (wait > 0) await Bun.sleep(wait);
        if (!to.destroyed && !this.#cut) to.write(bytes);
      });
    });
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
