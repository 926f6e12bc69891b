/** Members of an installation with several principals, in this process; the test says who leads. */

import { systemClock } from "../../../src/clock.ts";
import type { Config } from "../../../src/config.ts";
import { encodeReply } from "../../../src/contract/wire.ts";
import { EventHub } from "../../../src/event-hub.ts";
import { Api } from "../../../src/principal/api/api.ts";
import type { ApiCall, ApiTarget } from "../../../src/principal/api/api-target.ts";
import { Door } from "../../../src/principal/cluster/door.ts";
import type { ClusterView, LeaderPlace } from "../../../src/principal/cluster/leader-view.ts";
import { LogRelay } from "../../../src/principal/cluster/log-relay.ts";
import type { MemberParts } from "../../../src/principal/cluster/member-parts.ts";
import type { PrincipalPorts } from "../../../src/principal/principal.ts";
import { PrincipalClient } from "../../../src/protocol/client.ts";
import { Access } from "../../../src/protocol/doors/access.ts";
import type { KeyStore } from "../../../src/protocol/doors/key-store.ts";
import { LocalPeers } from "../../../src/protocol/doors/local-peers.ts";
import type { CurveClientKeys } from "../../../src/protocol/handshake.ts";
import { SqliteOperationalStore } from "../../../src/storage/operational/sqlite/store.ts";
import { LogBook } from "../support.ts";

/** What a member knows, as the test says. */
class View implements ClusterView {
  readonly signals = new EventHub<{ readonly leader: undefined }>();
  readonly #name: string;
  #leader: LeaderPlace | null = null;
  port = 0;
  logs = { logs_listening_port: 1, logs_publishing_port: 2 };

  constructor(name: string) {
    this.#name = name;
  }

  get self() {
    return {
      member_id: this.#name,
      name: this.#name,
      host: "127.0.0.1",
      api_port: this.port,
      ...this.logs,
    };
  }

  leader(): LeaderPlace | null {
    return this.#leader;
  }

  set(leader: LeaderPlace | null): void {
    this.#leader = leader;
    this.signals.emit("leader");
  }
}

/** A member without services of its own: its door. */
export class TestMember implements AsyncDisposable {
  readonly book = new LogBook();
  readonly view: View;
  readonly door: Door;
  readonly relay: LogRelay;
  readonly access: Access | undefined;
  readonly locals: LocalPeers | undefined;
  readonly #api: Api;
  readonly #clients: PrincipalClient[] = [];

  constructor(name: string, options: { store?: KeyStore; waitMs?: number; port?: number } = {}) {
    this.view = new View(name);
    const { log } = this.book;
    const { store, waitMs = 60_000, port = 0 } = options;
    this.access = store && new Access({ store, clock: systemClock, log });
    this.locals = store === undefined ? new LocalPeers({ log }) : undefined;
    const { access, locals, view } = this;
    this.door = new Door({ view, own: {}, access, log, waitMs });
    const ports = { host: "127.0.0.1", listeningPort: 0, publishingPort: 0 };
    this.relay = new LogRelay({ ...ports, view, access, locals, log });
    this.#api = new Api({ host: "127.0.0.1", port, target: this.door, access, locals, log, isMember: true });
  }

  get port(): number {
    return this.#api.port;
  }

  /** Its ports for logs are those of the principal that it is while it leads. */
  leadsAs({ logsListening, logsPublishing }: PrincipalPorts): void {
    this.view.logs = { logs_listening_port: logsListening, logs_publishing_port: logsPublishing };
  }

  /** Starts to relay logs. */
  async relaying(): Promise<this> {
    await this.relay.start();
    const { listening, publishing } = this.relay.ports;
    this.view.logs = { logs_listening_port: listening, logs_publishing_port: publishing };
    return this;
  }

  /** What a principal gets that leads as this member, with the state of a data directory. */
  parts({ CDKTR_APP_DATA_DIRECTORY: directory }: Config): MemberParts {
    const { access, locals, door, port, book } = this;
    return {
      store: new SqliteOperationalStore({ directory, clock: systemClock, log: book.log }),
      epoch: 1,
      entrance: { access, locals, isOpen: false },
      front: (target) => ({ services: [door.serving(target)], port }),
      principals: () => [],
      place: () => ({ host: "127.0.0.1" }),
      hold: () => door.hold(),
    };
  }

  /** Stops as the process does. */
  async stop(): Promise<void> {
    await this.relay.stop();
    await this.door.stop();
    await this.#api.stop();
  }

  async start(): Promise<this> {
    await this.access?.start();
    await this.locals?.start();
    await this.#api.start();
    this.view.port = this.port;
    await this.door.start();
    return this;
  }

  client(curve?: CurveClientKeys): PrincipalClient {
    const client = new PrincipalClient({
      host: "127.0.0.1",
      port: this.port,
      timeoutMs: 60_000,
      ...(curve === undefined ? {} : { curve }),
    });
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.stop();
    await this.access?.stop();
    await this.locals?.stop();
  }
}

let epoch = 0;

/** From now on, all of them take this one for the leader; nobody if there is none. */
export function leads(leader: TestMember | null, ...members: readonly TestMember[]): void {
  epoch++;
  for (const { view } of members) view.set(leader === null ? null : { ...leader.view.self, epoch });
}

/** Services that answer when the test wants it. */
export class HandMade implements ApiTarget {
  readonly signals = new EventHub<{ readonly asked: ApiCall }>();
  readonly calls: ApiCall[] = [];
  readonly #answers: ((call: ApiCall) => Promise<Uint8Array>) | undefined;
  readonly #waiting: (() => void)[] = [];

  constructor(answers?: (call: ApiCall) => Promise<Uint8Array>) {
    this.#answers = answers;
  }

  async answer(call: ApiCall): Promise<Uint8Array> {
    this.calls.push(call);
    this.signals.emit("asked", call);
    if (this.#answers !== undefined) return this.#answers(call);
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return encodeReply("SUCCESS", "[]");
  }

  /** Answers everything that waits. */
  release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async refused(): Promise<void> {}
}
