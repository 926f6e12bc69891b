import { expect, setDefaultTimeout, test } from "bun:test";
import { countDescriptors } from "../../src/host/connections.ts";
import { residentMemory } from "../../src/host/resident-memory.ts";
import { type Door, ResourceGuard } from "../../src/host/resource-guard.ts";
import { Dealer, Router } from "../../src/zmq/index.ts";
import { Flag, frame, RawPeer } from "../hostile/raw-peer.ts";
import { LogBook } from "../principal/support.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const MIB = 1024 * 1024;

/** A ROUTER that echoes, a good peer of it, and a guard that lets the process have so much more than it has. */
class Bench implements AsyncDisposable {
  readonly book = new LogBook();
  readonly router = new Router({ linger: 0 });
  readonly good = new Dealer({ linger: 0, receiveTimeout: 20_000 });
  readonly peers: RawPeer[] = [];
  #guard: ResourceGuard | undefined;
  #lost = 0;

  get port(): number {
    return Number(/\d+$/.exec(this.router.lastEndpoint)?.[0]);
  }

  static async start(more: {
    memory?: number;
    descriptors?: number;
    doors?: readonly Door[];
  }): Promise<Bench> {
    const bench = new Bench();
    const { router, good } = bench;
    await router.bind("tcp://127.0.0.1:*");
    void (async () => {
      for await (const message of router) if (message.length < 3) await router.send(message).catch(() => {});
    })();
    good.events.on("disconnected", () => bench.#lost++);
    good.connect(router.lastEndpoint);
    await bench.ask();
    const options = {
      doors: () => [{ port: bench.port, share: 0.5 }, ...(more.doors ?? [])],
      log: bench.book.log,
      ...(more.memory === undefined ? {} : { mostMemory: (residentMemory() ?? 0) + more.memory }),
      ...(more.descriptors === undefined
        ? {}
        : { mostDescriptors: countDescriptors(0) + 2 * more.descriptors }),
    };
    bench.#guard = new ResourceGuard(options);
    await bench.#guard.start();
    return bench;
  }

  /** Resolves when the guard has collected garbage. */
  async collected(): Promise<void> {
    await this.#guard?.signals.next("collected");
  }

  /** Resolves when the guard has looked around again. */
  async looked(): Promise<void> {
    await this.#guard?.signals.next("looked");
  }

  async connect(): Promise<RawPeer> {
    const peer = await RawPeer.connect(this.port);
    if (peer === undefined) throw new Error("the port is not open");
    this.peers.push(peer);
    return peer;
  }

  /** The good peer is answered, over the connection that it had from the beginning. */
  async ask(): Promise<void> {
    await this.good.send("how are you");
    expect(String((await this.good.receive())[0])).toBe("how are you");
    expect(this.#lost).toBe(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guard?.stop();
    for (const peer of this.peers) peer.reset();
    this.good.close();
    this.router.close();
  }
}

test("a message that has no end is cut off when it fills the memory", async () => {
  await using bench = await Bench.start({ memory: 200 * MIB });
  const peer = await bench.connect();
  await peer.shakeHands("DEALER");
  const part = frame(Buffer.alloc(MIB), Flag.more);
  let sent = 0;
  while (sent < 5000 && (await peer.drain().write(part))) sent++;
  expect(sent).toBeLessThan(5000);
  await peer.ended;
  await bench.ask();
  expect(bench.book.count(/^warn .*connections with the most traffic/)).toBe(1);
});

test("a peer that does not read its replies is disconnected when they fill the memory", async () => {
  await using bench = await Bench.start({ memory: 200 * MIB });
  const peer = await bench.connect();
  await peer.shakeHands("DEALER");
  peer.deafen();
  const request = frame(Buffer.alloc(MIB));
  let asked = 0;
  // Rather fail than write for ever, if nobody closes the connection.
  for (const until = performance.now() + 20_000; performance.now() < until && !peer.closed; asked++)
    if (!(await peer.write(request))) break;
  expect(asked).toBeGreaterThan(50);
  await bench.book.waitFor(/whose peers do not read/);
  await bench.ask();
});

test("connections over which nothing comes make room when there are too many", async () => {
  await using bench = await Bench.start({ descriptors: 100 });
  // Both ends of them are in this process.
  for (let n = 0; n < 150; n++) await bench.connect();
  await bench.book.waitFor(/connections with the least traffic were closed/);
  expect(bench.peers.filter((peer) => !peer.drain().closed).length).toBeGreaterThan(50);
  await bench.ask();
});

test("strangers at one port cost no connection of another", async () => {
  const held: RawPeer[] = [];
  using strangers = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  await using bench = await Bench.start({ descriptors: 100, doors: [{ port: strangers.port, share: 0.1 }] });
  // Nothing comes over them either.
  for (let n = 0; n < 20; n++) await bench.connect();
  for (let n = 0; n < 120; n++) {
    const peer = await RawPeer.connect(strangers.port);
    if (peer !== undefined) held.push(peer.drain());
  }
  await bench.book.waitFor(/connections with the least traffic were closed/);
  await bench.looked();
  expect(bench.peers.filter((peer) => peer.drain().closed)).toEqual([]);
  expect(held.some((peer) => peer.closed)).toBe(true);
  await bench.ask();
  for (const peer of held) peer.reset();
});

test("a process that uses the memory itself closes no connections", async () => {
  await using bench = await Bench.start({ memory: -MIB });
  const kept = Buffer.alloc(100 * MIB, 1);
  for (let n = 0; n < 20; n++) {
    await bench.ask();
    await bench.looked();
  }
  expect(kept[0]).toBe(1);
  expect(bench.book.lines).toEqual([]);
});

test("garbage costs no connection, however much was sent over it", async () => {
  await using bench = await Bench.start({ memory: 100 * MIB });
  await bench.good.send(Buffer.alloc(2 * MIB));
  await bench.good.receive();
  const held = { burst: Array.from({ length: 150 }, () => Buffer.alloc(MIB, "x")) };
  held.burst = [];
  await bench.collected();
  await bench.looked();
  await bench.ask();
  expect(bench.book.lines).toEqual([]);
});

test("what was in use during the collection after a burst, and is garbage now, is collected too", async () => {
  await using bench = await Bench.start({});
  const held = { burst: Array.from({ length: 150 }, () => Buffer.alloc(MIB, "x")) };
  await bench.collected();
  const before = residentMemory() ?? 0;
  held.burst = [];
  await bench.collected();
  // The allocator gives it back a bit later.
  await until("memory is given back", () => before - (residentMemory() ?? 0) > 100 * MIB);
});
