import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { pulse } from "../../src/host/pulse.ts";
import { Dealer, Pull, Push, Reply, Request, Router } from "../../src/zmq/index.ts";
import { reactor } from "../../src/zmq/reactor.ts";
import { startProgram } from "./program.ts";
import { ANY_PORT, codeOf, text, until } from "./support.ts";

setDefaultTimeout(60_000);

/** Waits until a Worker runs: sockets have to wait for it to be started. */
async function workerRuns(): Promise<Worker> {
  for (;;) {
    const { worker, workerReady } = reactor();
    if (worker !== undefined && workerReady) return worker;
    using pull = new Pull({ receiveTimeout: 5 });
    await codeOf(() => pull.receive());
  }
}

/** How many threads of reactors this process has. */
function reactorThreads(): number {
  return readdirSync("/proc/self/task").filter((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, "utf8").startsWith("zmq-reactor");
    } catch {
      return false;
    }
  }).length;
}

describe("the Worker", () => {
  beforeAll(workerRuns);

  test("says that the process is busy, as long as somebody listens, and the main thread may sleep meanwhile", async () => {
    const busy = Promise.withResolvers<void>();
    const end = pulse.on("busy", () => busy.resolve());
    // The Worker looks from its next event on.
    using pull = new Pull();
    await pull.bind(ANY_PORT);
    using push = new Push();
    push.connect(pull.lastEndpoint);
    // It waits, so that the Worker is told.
    const received = (async () => {
      for await (const message of pull) if (message.length === 1) return;
    })();
    await push.send("");
    await received;
    expect(pulse.isBeating).toBe(true);
    // Uses processor time.
    for (const over = performance.now() + 50; performance.now() < over; );
    await busy.promise;
    end();
    expect(pulse.isBeating).toBe(false);
  });

  test("when it dies while sockets wait, another takes over and no event is lost", async () => {
    const servers = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const server = new Reply();
        await server.bind(ANY_PORT);
        const loop = (async () => {
          for await (const message of server) await server.send(message);
        })();
        return { server, loop };
      }),
    );
    const clients = servers.map(({ server }) => {
      const client = new Request();
      client.connect(server.lastEndpoint);
      return client;
    });
    let exchanged = 0;
    const rounds = 1_000;
    const work = clients.map(async (client, number) => {
      for (let i = 0; i < rounds; i++) {
        await client.send(`${number}.${i}`);
        expect(text(await client.receive())).toEqual([`${number}.${i}`]);
        exchanged++;
      }
    });
    const dead = new Set<Worker>();
    for (let kill = 1; kill <= 5; kill++) {
      await until(() => exchanged >= (kill * clients.length * rounds) / 8);
      const worker = await workerRuns();
      expect(dead.has(worker)).toBe(false);
      dead.add(worker);
      worker.terminate();
    }
    await Promise.all(work);
    expect(exchanged).toBe(clients.length * rounds);
    const worker = await workerRuns();
    expect(dead.has(worker)).toBe(false);
    for (const socket of [...clients, ...servers.map(({ server }) => server)]) socket.close();
    await Promise.all(servers.map(({ loop }) => loop));
  });

  test("when it dies while nothing happens, it takes nothing of what comes later with it", async () => {
    const pairs = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const pull = new Pull();
        const push = new Push();
        await pull.bind(ANY_PORT);
        push.connect(pull.lastEndpoint);
        return { pull, push };
      }),
    );
    await workerRuns();
    const threads = reactorThreads();
    expect(threads).toBeGreaterThan(0);
    for (let death = 0; death < 3; death++) {
      let waiting = pairs.map(({ pull }) => pull.receive());
      const worker = await workerRuns();
      // Nothing tells when a thread has entered epoll_wait: by now it has, or this death is merely one between two calls.
      await Bun.sleep(5);
      worker.terminate();
      await until(() => reactor().worker !== worker && reactor().workerReady);
      for (let round = 0; round < 300; round++) {
        for (const { push } of pairs) push.trySend(`${death}.${round}`);
        const received = waiting;
        waiting = [];
        for (const [i, { pull }] of pairs.entries()) {
          expect(text(await received[i])).toEqual([`${death}.${round}`]);
          if (round < 299) waiting.push(pull.receive());
        }
      }
    }
    // A thread that was blocked when its Worker was terminated does not stay behind.
    await until(() => reactorThreads() <= threads);
    for (const { push, pull } of pairs) {
      push.close();
      pull.close();
    }
  });

  test("a host where no Worker can be started is served by polling", async () => {
    using program = startProgram(`
      globalThis.Worker = class { constructor() { throw new Error("no threads"); } } as never;
      const pull = new zmq.Pull();
      await pull.bind("tcp://127.0.0.1:*");
      console.log(pull.lastEndpoint);
      for await (const [part] of pull) { console.log(String(part)); if (String(part) === "9") break; }
      pull.close();
    `);
    using push = new Push();
    push.connect(await program.line());
    for (let i = 0; i < 10; i++) {
      await push.send(String(i));
      expect(await program.line()).toBe(String(i));
    }
    expect((await program.end()).status).toBe(0);
  });

  test("a process that was stopped and continued goes on", async () => {
    using program = startProgram(`
      const reply = new zmq.Reply();
      await reply.bind("tcp://127.0.0.1:*");
      console.log(reply.lastEndpoint);
      for await (const message of reply) await reply.send(message);
    `);
    using request = new Request();
    request.connect(await program.line());
    const ask = async (question: string) => {
      await request.send(question);
      return text(await request.receive());
    };
    for (let i = 0; i < 5; i++) {
      expect(await ask("before")).toEqual(["before"]);
      // Nothing tells that a process has gone to sleep: it is stopped while it waits, or a little before.
      await Bun.sleep(10);
      program.process.kill("SIGSTOP");
      const answer = ask("while stopped");
      program.process.kill("SIGCONT");
      expect(await answer).toEqual(["while stopped"]);
    }
  });
});

describe("calls that take in the news for somebody who waits", () => {
  beforeAll(workerRuns);

  /** libzmq looks for news when it sends only if it has not for about a millisecond. */
  const spin = () => {
    for (const end = performance.now() + 3; performance.now() < end; );
  };

  test("a send does not swallow the message that a receive waits for", async () => {
    using a = new Dealer();
    using b = new Dealer();
    await a.bind("inproc://swallowed-message");
    b.connect("inproc://swallowed-message");
    for (let i = 0; i < 100; i++) {
      const waiting = a.receive();
      spin();
      b.trySend(`message ${i}`);
      a.trySend("something else");
      expect(text(await waiting)).toEqual([`message ${i}`]);
      b.tryReceiveBatch(10);
    }
  });

  test("a receive does not swallow the room that a send waits for", async () => {
    using a = new Dealer({ sendHighWaterMark: 5, receiveHighWaterMark: 5 });
    using b = new Dealer({ sendHighWaterMark: 5, receiveHighWaterMark: 5 });
    await a.bind("inproc://swallowed-room");
    b.connect("inproc://swallowed-room");
    for (let i = 0; i < 100; i++) {
      while (a.trySend("full"));
      const waiting = a.send(`message ${i}`);
      spin();
      while (b.tryReceive() !== undefined);
      expect(a.tryReceive()).toBeUndefined();
      await waiting;
      expect(text(await b.receive())).toEqual([`message ${i}`]);
    }
  });
});

describe("fairness", () => {
  test("a flooded socket starves neither another socket nor timers", async () => {
    using pull = new Pull({ receiveHighWaterMark: 0 });
    using push = new Push({ sendHighWaterMark: 0 });
    await pull.bind("inproc://flood");
    push.connect("inproc://flood");
    using router = new Router();
    using dealer = new Dealer();
    await router.bind(ANY_PORT);
    dealer.connect(router.lastEndpoint);
    let flooded = 0;
    let over = false;
    // Never a turn without a message: each one received is replaced by one sent.
    for (let i = 0; i < 10_000; i++) await push.send("flood");
    const flood = (async () => {
      for await (const _ of pull) {
        flooded++;
        if (over) break;
        await push.send("flood");
      }
    })();
    const echo = (async () => {
      for (let i = 0; i < 50; i++) await router.send(await router.receive());
    })();
    for (let i = 0; i < 50; i++) {
      await dealer.send(String(i));
      expect(text(await dealer.receive())).toEqual([String(i)]);
    }
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 0));
    const during = flooded;
    over = true;
    await Promise.all([flood, echo]);
    expect(during).toBeGreaterThan(1_000);
  });

  test("sockets that are all flooded share the turns", async () => {
    const pairs = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const pull = new Pull({ receiveHighWaterMark: 0 });
        const push = new Push({ sendHighWaterMark: 0 });
        await pull.bind(`inproc://share-${i}`);
        push.connect(`inproc://share-${i}`);
        return { pull, push, count: 0 };
      }),
    );
    for (let i = 0; i < 5_000; i++) for (const { push } of pairs) push.trySend("flood");
    await Promise.race(
      pairs.map(async (pair) => {
        for await (const _ of pair.pull) if (++pair.count === 5_000) break;
      }),
    );
    // When the first is through its flood, nobody is far behind.
    for (const { count } of pairs) expect(count).toBeGreaterThan(2_500);
    for (const { push, pull } of pairs) {
      push.close();
      pull.close();
    }
  });
});

describe("idle cost", () => {
  test("a hundred sockets that wait, heartbeats on, cost next to nothing", async () => {
    using program = startProgram(`
      const sockets = [];
      for (let i = 0; i < 50; i++) {
        const dealer = new zmq.Dealer({ heartbeatInterval: 1000 });
        const router = new zmq.Router({ heartbeatInterval: 1000 });
        await router.bind("tcp://127.0.0.1:*");
        dealer.connect(router.lastEndpoint);
        await dealer.send("hello");
        await router.receive();
        sockets.push(dealer, router);
      }
      for (const socket of sockets) socket.receive().catch(() => {});
      // What it uses is measured over a while, after what the start leaves to do.
      await Bun.sleep(200);
      const before = process.cpuUsage(), clock = performance.now();
      await Bun.sleep(1500);
      const { user, system } = process.cpuUsage(before);
      console.log((user + system) / 1000 / (performance.now() - clock));
      process.exit(0);
    `);
    // As a share of one processor: on a busy machine it is no more.
    expect(Number(await program.line())).toBeLessThan(0.05);
  });
});
