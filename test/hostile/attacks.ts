/** The kinds of hostile traffic, one function each, which attacks a principal a given number of times. */
import { VERB_NAMES, VERBS } from "../../src/contract/verbs.ts";
import { type CurveClientKeys, curveOptions } from "../../src/protocol/client.ts";
import { curveKeyPair, Dealer, Push, Subscriber } from "../../src/zmq/index.ts";
import type { Random } from "../chaos/random.ts";
import { bytes, hostileLogs, hostileRequest, largeHostileLogs } from "./hostile-requests.ts";
import { longPollRequest } from "./malformed.ts";
import { command, Flag, frame, greeting, RawPeer } from "./raw-peer.ts";

/** The principal that is attacked. */
export interface Target {
  readonly ports: { readonly api: number; readonly listening: number; readonly publishing: number };
  /** Of a secured principal: keys that it knows. Those who hold them attack too. */
  readonly keys?: { readonly client: CurveClientKeys; readonly agent: CurveClientKeys };
}

/** Where an attack takes place. */
interface Field {
  readonly target: Target;
  readonly random: Random;
  /** How many connections or messages. */
  readonly amount: number;
  /** Keeps what an attack leaves open until the whole campaign is over. */
  hold(peer: { end(): void }): void;
}

/** Does its worst; resolves with the number of connections and messages that it was. */
export type Attack = (field: Field) => Promise<number>;

/** Connections or messages at a time. */
const AT_ONCE = 50;
const MIB = 1024 * 1024;

const LONG_POLLS = VERB_NAMES.filter((verb) => "waits" in VERBS[verb]);

const HANDSHAKE_COMMANDS = [
  "HELLO",
  "WELCOME",
  "INITIATE",
  "READY",
  "ERROR",
  "PING",
  "SUBSCRIBE",
  "",
  "\u0000",
];

/** Every kind of attack, by name. */
const TABLE = {
  /** Bytes that are no ZMTP at all. */
  noise: (field) =>
    each(field, async (peer) => {
      await peer.write(bytes(field.random, Math.floor(field.random.between(1, 3000))));
      peer.end();
    }),

  /** Connections that say nothing, or stop in the middle of the greeting. */
  silence: (field) =>
    each(field, async (peer) => {
      await peer.write(greeting("NULL").subarray(0, Math.floor(field.random.next() * 64)));
      field.hold(peer);
    }),

  /** A whole greeting of each mechanism, and nothing after it. */
  halfOpen: (field) =>
    each(field, async (peer) => {
      await peer.write(greeting(field.random.pick(["NULL", "PLAIN", "CURVE", "GSSAPI"])));
      field.hold(peer);
    }),

  /** A mechanism, right or wrong, and commands that do not belong there, have the wrong length or are noise. */
  handshakes: (field) =>
    each(field, async (peer) => {
      const { random } = field;
      const mechanism = random.pick([
        "NULL",
        "PLAIN",
        "CURVE",
        "CURVE",
        "GSSAPI",
        "curve",
        "\u0000",
        "X".repeat(20),
      ]);
      const version = random.pick<readonly [number, number]>([
        [3, 0],
        [3, 1],
        [3, 255],
        [4, 0],
      ]);
      await peer.write(greeting(mechanism, { version, asServer: random.next() < 0.2 }));
      for (let n = random.between(1, 4); n > 0; n--) {
        const length = random.pick([0, 1, 192, 193, 194, 195, 257, 900, 70_000]);
        await peer.write(command(random.pick(HANDSHAKE_COMMANDS), bytes(random, length)));
      }
      peer.end();
    }),

  /** CURVE: a HELLO of the right length with a wrong version or noise for a signature, then an INITIATE that nobody made. */
  curve: (field) =>
    each(field, async (peer) => {
      const { random } = field;
      await peer.write(greeting("CURVE"));
      const hello = bytes(random, 194);
      hello[0] = random.pick([0, 1, 1, 2]);
      hello[1] = 0;
      if (random.next() < 0.7) await peer.write(command("HELLO", hello));
      await peer.write(command("INITIATE", bytes(random, random.pick([0, 100, 248, 3000]))));
      peer.end();
    }),

  /** Peers of ZMTP 1.0 and 2.0. */
  oldPeers: (field) =>
    each(field, async (peer) => {
      const { random } = field;
      if (random.next() < 0.5) await peer.write(Buffer.from("0100", "hex"));
      else await peer.write(Buffer.from("ff00000000000000017f0105", "hex"));
      await peer.write(frame(bytes(random, 20), random.pick([0, 1])));
      await peer.write(frame(Buffer.from("PING")));
      peer.end();
    }),

  /** Frames that lie: cut off, of 2^63 bytes, of more than is allowed, command frames out of place, messages without an end. */
  frames: (field) =>
    each(field, async (peer) => {
      const { random } = field;
      await peer.shakeHands(random.pick(["DEALER", "REQ", "PUSH", "SUB", "ROUTER", "PAIR", "PUB", "NONE"]));
      const lie = random.pick<() => Promise<unknown>>([
        () => peer.write(frame(bytes(random, 100), 0, 2n ** 63n)),
        () => peer.write(frame(bytes(random, 100), 0, 2n ** 64n - 1n)),
        () => peer.write(frame(bytes(random, 100), 0, 64 * MIB + 1)),
        () => peer.write(frame(bytes(random, 100), Flag.more, 16 * MIB)),
        () => peer.write(frame(bytes(random, 100), 0, 200).subarray(0, 60)),
        () => peer.write(frame(bytes(random, 10), 0xf8)),
        () => peer.write(frame(bytes(random, 10), Flag.command | Flag.more)),
        () => peer.write(command("PING", bytes(random, random.pick([0, 1, 2, 18, 19, 200])))),
        () => peer.write(command("CANCEL", bytes(random, 10))),
        async () => {
          const part = frame(Buffer.alloc(0), Flag.more);
          for (let n = 0; n < 20; n++) if (!(await peer.write(Buffer.concat(Array(500).fill(part))))) break;
        },
      ]);
      await lie();
      random.pick([() => field.hold(peer), () => peer.reset(), () => peer.end()])();
    }),

  /** Connections that are gone at once, some with a RST. */
  churn: (field) =>
    each(field, async (peer) => {
      if (field.random.next() < 0.5) peer.reset();
      else peer.end();
    }),

  /** Peers that have a key, but none that the principal knows; to an unsecured one they have one too many. */
  unknownKeys: async (field) => {
    const { target, amount } = field;
    const serverKey = target.keys?.client.serverKey ?? curveKeyPair().publicKey;
    const sockets = [];
    for (let n = 0; n < amount; n++) {
      const socket = new Dealer({ ...curveOptions({ ...curveKeyPair(), serverKey }), linger: 0 });
      socket.connect(endpoint(anyPort(field)));
      socket.trySend(["", "PING"]);
      sockets.push(socket);
      if (n % AT_ONCE === AT_ONCE - 1) {
        // Time for some of the handshakes, as strangers take it.
        await Bun.sleep(20);
        for (const old of sockets.splice(0)) old.close();
      }
    }
    for (const socket of sockets) socket.close();
    return amount;
  },

  /** Every verb with fields that it does not want, as fast as they go. */
  requests: (field) =>
    withDealers(field, 4, (dealer) => dealer.send(["id", "", hostileRequest(field.random)]), {
      answered: true,
    }),

  /** Requests just below and above the largest that is allowed, whole ones and ones that stop in the middle. */
  largeRequests: async (field) => {
    const { target, random, amount } = field;
    const bodies = [
      () => Buffer.alloc(16 * MIB + 1),
      () => Buffer.from("\x01".repeat(16 * MIB)),
      () => Buffer.from(`LSRUNS\x01${"[".repeat(8 * MIB - 10)}${"]".repeat(8 * MIB - 10)}`),
      () => Buffer.from(`LSRUNS\x01[${"{},".repeat(5 * MIB)}{}]`),
      () => Buffer.from(`LSRUNS\x01{"limit":"${"\\u0001".repeat(2 * MIB)}"}`),
    ];
    await withDealers({ ...field, amount }, 4, (dealer) => dealer.send(["id", "", random.pick(bodies)()]), {
      answered: true,
    });
    if (target.keys === undefined) {
      for (let n = 0; n < amount; n++) {
        const peer = await RawPeer.connect(target.ports.api);
        if (peer === undefined) continue;
        await peer.shakeHands("DEALER");
        await peer.write(frame(Buffer.alloc(4 * MIB), 0, 16 * MIB));
        field.hold(peer);
      }
    }
    return amount * 2;
  },

  /** Peers that come, ask and leave before the answer. */
  identities: async (field) => {
    const { target, random, amount } = field;
    for (let done = 0; done < amount; done += AT_ONCE) {
      const dealers = Array.from({ length: AT_ONCE }, () => {
        const routingId = `id-${random.next()}`;
        const dealer = new Dealer({ ...curveOptions(target.keys?.client), routingId, linger: 0 });
        dealer.connect(endpoint(target.ports.api));
        return dealer;
      });
      await Promise.all(dealers.map((dealer) => patiently(dealer.send(["", "PING"]))));
      for (const dealer of dealers) dealer.close();
    }
    return amount;
  },

  /** Long polls of every verb that nobody waits for: of runs that do not exist, of agents that never registered. */
  longPolls: (field) =>
    withDealers(field, 20, (dealer) => {
      const { random } = field;
      const verb = random.pick(LONG_POLLS);
      const fields = longPollRequest(verb, {
        agent_id: `ghost-${Math.floor(random.next() * 1000)}`,
        workflow_instance_id: crypto.randomUUID(),
      });
      return dealer.send(["id", "", [verb, ...fields].join("\x01")]);
    }),

  /** Asks for the largest replies there are, and reads none. */
  deafClients: async (field) => {
    const { target, amount } = field;
    const big = `QUERYDB\x01${JSON.stringify({ sql: "select string_agg(repeat('x', 1000), '') from range(4000)", max_rows: 10 })}`;
    const peers = 8;
    for (let n = 0; n < peers; n++) {
      const dealer = new Dealer({ ...curveOptions(target.keys?.client), receiveHighWaterMark: 1, linger: 0 });
      dealer.connect(endpoint(target.ports.api));
      for (let i = 0; i < amount / peers; i++)
        await patiently(dealer.send(["", n % 2 === 0 ? big : "LSWORKFLOWS"]));
      field.hold({ end: () => dealer.close() });
    }
    return amount;
  },

  /** Subscribes to everything and reads nothing. */
  deafWatchers: async (field) => {
    const { target, amount } = field;
    for (let n = 0; n < amount; n++) {
      const subscriber = new Subscriber({
        ...curveOptions(target.keys?.client),
        receiveHighWaterMark: 1,
        linger: 0,
      });
      subscriber.connect(endpoint(target.ports.publishing));
      subscriber.subscribe();
      field.hold({ end: () => subscriber.close() });
    }
    return amount;
  },

  /** So many subscriptions of one peer, and some that are very long. */
  subscriptions: async (field) => {
    const { target, random, amount } = field;
    const subscriber = new Subscriber({
      ...curveOptions(target.keys?.client),
      linger: 0,
      sendHighWaterMark: 0,
    });
    subscriber.connect(endpoint(target.ports.publishing));
    for (let n = 0; n < amount; n++) {
      subscriber.subscribe(`${random.next()}-${n}`);
      // Lets the socket send what it has.
      if (n % 1000 === 0) await Bun.sleep(1);
    }
    field.hold({ end: () => subscriber.close() });
    for (const length of [10_000, 1_000_000, 12 * MIB]) {
      const longWinded = new Subscriber({ ...curveOptions(target.keys?.client), linger: 0 });
      longWinded.connect(endpoint(target.ports.publishing));
      longWinded.subscribe(bytes(random, length));
      field.hold({ end: () => longWinded.close() });
    }
    return amount;
  },

  /** Messages without an end, of parts of 1 MiB each. */
  endless: async (field) => {
    const { target, random, amount } = field;
    const part = frame(Buffer.alloc(MIB), Flag.more);
    const peers = 4;
    await Promise.all(
      Array.from({ length: peers }, async () => {
        const peer = await RawPeer.connect(random.pick([target.ports.api, target.ports.listening]));
        await peer?.shakeHands(random.pick(["DEALER", "PUSH"]));
        for (let n = 0; n < amount / peers; n++) if (!(await peer?.write(part))) break;
        if (peer !== undefined) field.hold(peer);
      }),
    );
    return amount;
  },

  /** Forged, malformed and endless log lines. */
  logs: (field) => withPush(field, (push) => push.send(hostileLogs(field.random))),

  /** A few of them that are very large. */
  largeLogs: (field) => withPush(field, (push) => push.send(largeHostileLogs(field.random))),
} satisfies Record<string, Attack>;

/** The name of an attack. */
export type AttackName = keyof typeof TABLE;

/** Every kind of attack. */
export const ATTACKS: Readonly<Record<AttackName, Attack>> = TABLE;

function endpoint(port: number): string {
  return `tcp://127.0.0.1:${port}`;
}

function anyPort({ target, random }: Field): number {
  const { api, listening, publishing } = target.ports;
  return random.pick([api, listening, publishing]);
}

/** Connects to the three ports in turn, several at once. */
async function each(field: Field, act: (peer: RawPeer) => Promise<void>): Promise<number> {
  for (let done = 0; done < field.amount; done += AT_ONCE) {
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, field.amount - done) }, async () => {
        const peer = await RawPeer.connect(anyPort(field));
        if (peer !== undefined) await act(peer.drain());
      }),
    );
  }
  return field.amount;
}

/** Whoever is attacked may make us wait: not for ever. */
function patiently(work: Promise<unknown>, ms = 2000): Promise<unknown> {
  return Promise.race([work.catch(() => {}), Bun.sleep(ms)]);
}

async function withDealers(
  field: Field,
  peers: number,
  send: (dealer: Dealer) => Promise<void>,
  { answered = false } = {},
): Promise<number> {
  const { target, amount } = field;
  await Promise.all(
    Array.from({ length: peers }, async (_, n) => {
      const keys = n % 2 === 0 ? target.keys?.client : target.keys?.agent;
      const dealer = new Dealer({ ...curveOptions(keys), linger: 0 });
      dealer.connect(endpoint(target.ports.api));
      const share = Math.ceil(amount / peers);
      let replies = 0;
      const reading = (async () => {
        for await (const _reply of dealer) if (++replies >= share) break;
      })();
      for (let i = 0; i < share; i++) await patiently(send(dealer));
      if (answered) await patiently(reading, 180_000);
      if (answered && replies < share)
        throw new Error(`${share - replies} of ${share} requests got no reply`);
      dealer.close();
    }),
  );
  return amount;
}

async function withPush(field: Field, send: (push: Push) => Promise<void>): Promise<number> {
  const push = new Push({ ...curveOptions(field.target.keys?.agent), linger: 0 });
  push.connect(endpoint(field.target.ports.listening));
  for (let n = 0; n < field.amount; n++) await patiently(send(push), 10_000);
  field.hold({ end: () => push.close() });
  return field.amount;
}
