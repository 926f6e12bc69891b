/** A peer that speaks ZMTP (ZeroMQ RFCs 13, 15, 23 and 26) byte by byte over TCP, so that it can send what libzmq never would. */
import { connect, type Socket } from "node:net";

/** Flags of a frame, RFC 23. */
export const Flag = { more: 0x01, long: 0x02, command: 0x04 } as const;

/** A TCP connection to one of the principal's ports. */
export class RawPeer {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    // It may be cut at any time: that is what the principal is for.
    socket.on("error", () => {});
  }

  /** Undefined when the principal, or this host, takes no more connections. */
  static connect(port: number): Promise<RawPeer | undefined> {
    return new Promise((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.once("connect", () => resolve(new RawPeer(socket)));
      socket.once("error", () => resolve(undefined));
    });
  }

  /** Whether the other side ended it, or this one. */
  get closed(): boolean {
    return this.#socket.destroyed || this.#socket.readableEnded;
  }

  /** Resolves when the connection has ended, whoever ended it. */
  get ended(): Promise<void> {
    this.#socket.resume();
    if (this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => this.#socket.once("close", () => resolve()));
  }

  /** Reads, and forgets, what comes. */
  drain(): this {
    this.#socket.resume();
    return this;
  }

  /** Reads no more: what comes waits at the other side once the buffers of both hosts are full. */
  deafen(): this {
    this.#socket.pause();
    return this;
  }

  /** Resolves when the system has taken the bytes, or the connection is gone, or nobody has read for two seconds. */
  async write(bytes: Uint8Array): Promise<boolean> {
    if (this.#socket.destroyed) return false;
    if (this.#socket.write(bytes)) return true;
    return new Promise((resolve) => {
      const done = (ok: boolean) => () => {
        clearTimeout(patience);
        this.#socket.off("drain", taken).off("close", gone);
        resolve(ok);
      };
      const taken = done(true);
      const gone = done(false);
      const patience = setTimeout(gone, 2000);
      this.#socket.once("drain", taken).once("close", gone);
    });
  }

  /** Shakes hands as an unsecured peer of that type, and waits until the other side is ready, has ended it, or says nothing for two seconds. */
  async shakeHands(socketType: string): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let seen = "";
    const look = (chunk: Buffer) => {
      seen += chunk.toString("latin1");
      if (seen.includes("READY")) resolve();
    };
    const patience = setTimeout(resolve, 2000);
    this.#socket.on("data", look).once("close", resolve).once("end", resolve);
    await this.write(greeting("NULL"));
    const isWritten = await this.write(command("READY", property("Socket-Type", socketType)));
    await promise;
    clearTimeout(patience);
    this.#socket.off("data", look).off("close", resolve).off("end", resolve).pause();
    return isWritten && !this.closed;
  }

  end(): void {
    this.#socket.end();
  }

  /** Ends it with a RST, in the middle of whatever it was. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }
}

/** The 64 bytes with which a ZMTP 3 peer begins. */
export function greeting(
  mechanism: string,
  { version = [3, 1], asServer = false }: { version?: readonly [number, number]; asServer?: boolean } = {},
): Buffer {
  const bytes = Buffer.alloc(64);
  bytes[0] = 0xff;
  bytes[8] = 1;
  bytes[9] = 0x7f;
  bytes[10] = version[0];
  bytes[11] = version[1];
  bytes.write(mechanism.slice(0, 20), 12, "latin1");
  bytes[32] = asServer ? 1 : 0;
  return bytes;
}

/** A frame. `claimed` is the length that it says it has. */
export function frame(body: Uint8Array, flags = 0, claimed: number | bigint = body.length): Buffer {
  const isLong = claimed > 255;
  const head = Buffer.alloc(isLong ? 9 : 2);
  head[0] = flags | (isLong ? Flag.long : 0);
  if (isLong) head.writeBigUInt64BE(BigInt(claimed), 1);
  else head[1] = Number(claimed);
  return Buffer.concat([head, body]);
}

/** A command frame. */
export function command(name: string, body: Uint8Array = Buffer.alloc(0)): Buffer {
  return frame(Buffer.concat([Buffer.from([name.length]), Buffer.from(name, "latin1"), body]), Flag.command);
}

/** A property of the metadata in a READY or INITIATE command. */
function property(name: string, value: string): Buffer {
  const head = Buffer.from([name.length, ...Buffer.from(name)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([head, length, Buffer.from(value, "latin1")]);
}
