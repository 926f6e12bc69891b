/** Clients of an installation with several members. The members here are sockets that answer what the test says. */
import { afterEach, describe, expect, test } from "bun:test";
import { freePorts } from "../../scripts/support/ports.ts";
import { encodeReply, type ReplyKind } from "../../src/contract/wire.ts";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import { type ClientOptions, PrincipalClient } from "../../src/protocol/client.ts";
import { type Message, Router } from "../../src/zmq/index.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

type Answer = readonly [ReplyKind, string?] | null;

/** A member; `asked` are the verbs that have reached it. */
class Member {
  readonly asked: string[] = [];
  /** Like a process that is stopped. */
  isSilent = false;
  #router: Router | undefined;
  readonly #held: Message[] = [];
  #heard = Promise.withResolvers<void>();

  constructor(
    readonly name: string,
    readonly port: number,
    readonly all: () => readonly Member[],
    readonly answer: (verb: string, fields: string[], member: Member) => Answer,
  ) {}

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const router = new Router({ linger: 0 });
    this.#router = router;
    await router.bind(`tcp://127.0.0.1:${this.port}`);
    closers.push(() => router.close());
    void this.#serve(router);
  }

  /** Like a process that is killed. */
  kill(): void {
    this.#router?.close();
  }

  /** Answers the requests that it has not answered. */
  release(answer: readonly [ReplyKind, string?]): void {
    for (const envelope of this.#held.splice(0))
      this.#router?.trySend([...envelope, encodeReply(answer[0], answer[1])]);
  }

  /** Resolves when a request with this verb has reached it. */
  async heard(verb: string): Promise<void> {
    while (!this.asked.includes(verb)) await this.#heard.promise;
  }

  async #serve(router: Router): Promise<void> {
    for await (const parts of router) {
      const [verb = "", ...fields] = Buffer.from(parts.at(-1) ?? "")
        .toString()
        .split("\x01");
      this.asked.push(verb);
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
      if (this.isSilent) continue;
      const answer = this.answer(verb, fields, this) ?? this.#ownAnswer(verb);
      if (answer === null) this.#held.push(parts.slice(0, -1) as unknown as Message);
      else router.trySend([...parts.slice(0, -1), encodeReply(answer[0], answer[1])]);
    }
  }

  #ownAnswer(verb: string): Answer {
    if (verb === "PING") return ["PONG"];
    if (verb !== "PRINCIPALINFO") return null;
    const members = this.all().map(({ name, port }) => ({
      ...{ name, host: "127.0.0.1", api_port: port, logs_listening_port: port + 1, logs_publishing_port: 3 },
    }));
    return [
      "SUCCESS",
      JSON.stringify({ ...INFO, logs_listening_port: this.port + 1, member: this.name, members }),
    ];
  }
}

const INFO = {
  ...{ principal_id: "p", version: "9", protocol: { version: 6, oldest: 1 }, pid: 1, started_at_ms: 0 },
  ...{ host: "127.0.0.1", api_port: 1, logs_listening_port: 2, logs_publishing_port: 3, workflows: 0 },
  ...{
    invalid_workflow_files: [],
    runs: { pending: 0, running: 0 },
    history: { available: true, error: null },
  },
};

async function installation(
  count: number,
  answer: (verb: string, fields: string[], member: Member) => Answer,
): Promise<Member[]> {
  const ports = await freePorts(count);
  const all: Member[] = ports.map((port, i) => new Member(`member-${i}`, port, () => all, answer));
  await Promise.all(all.map((member) => member.start()));
  return all;
}

function connect(members: readonly Member[], options: Partial<ClientOptions> = {}): PrincipalClient {
  const [first, ...others] = members.map(({ port }) => ({ host: "127.0.0.1", port }));
  if (first === undefined) throw new Error("no members");
  const client = new PrincipalClient({ ...first, others, timeoutMs: 20_000, ...options });
  closers.push(() => client.close());
  return client;
}

const memberAt = (members: readonly Member[], address: string) =>
  members.find((member) => member.address === address);

describe("a client of several members", () => {
  test("uses the first one that is there", async () => {
    const members = await installation(3, () => null);
    members[0]?.kill();
    members[1]?.kill();
    const client = connect(members);
    await client.ping();
    expect(client.address).toBe(members[2]?.address ?? "");
  });

  test("a request in flight goes to another member when its member dies, and the same request is asked there", async () => {
    const requests: string[] = [];
    const members = await installation(2, (verb, fields, { name }) => {
      if (verb !== "RUNTASK") return null;
      requests.push(fields.join());
      return name === "member-0" ? null : ["OK", JSON.stringify({ workflow_instance_id: "r1" })];
    });
    const client = connect(members);
    const run = client.runTask("w", { dedupe_key: "once" });
    await members[0]?.heard("RUNTASK");
    members[0]?.kill();
    expect((await run).workflow_instance_id).toBe("r1");
    expect(new Set(requests).size).toBe(1);
    expect(requests).toHaveLength(2);
  });

  test("learns the others from one, and moves to them; says so once it knows the ports", async () => {
    const members = await installation(2, () => null);
    const client = connect(members.slice(0, 1));
    await client.info();
    expect(client.addresses).toBe(members.map(({ address }) => address).join(" and "));
    const moved = client.signals.next("moved");
    members[0]?.kill();
    const place = await moved;
    expect(place).toEqual({
      ...{ host: "127.0.0.1", port: members[1]?.port ?? 0, address: members[1]?.address ?? "" },
      ...{ member: "member-1", logPorts: { logsListening: (members[1]?.port ?? 0) + 1, logsPublishing: 3 } },
    });
    await client.ping();
  });

  test("a member that is silent is left after the timeout of a request", async () => {
    const members = await installation(2, (verb) => (verb === "LSWORKFLOWS" ? ["SUCCESS", "{}"] : null));
    const client = connect(members, { timeoutMs: 1000 });
    await client.ping();
    if (members[0] !== undefined) members[0].isSilent = true;
    expect(await client.listWorkflows()).toEqual({});
    expect(client.address).toBe(members[1]?.address ?? "");
  });

  test("a member that is there may take longer: it waits for a leader, and nobody leaves it", async () => {
    const members = await installation(2, () => null);
    const [first] = members;
    const client = connect(members, { timeoutMs: 1000 });
    await client.ping();
    const slow = client.listWorkflows();
    await first?.heard("LSWORKFLOWS");
    first?.asked.splice(0);
    // It has been silent for the time of the request, and is asked whether it is there.
    await first?.heard("PING");
    first?.release(["SUCCESS", "{}"]);
    expect(await slow).toEqual({});
    expect(client.address).toBe(first?.address ?? "");
  });

  test("a member that has no leader to ask is left for one that has; when none has, it says so", async () => {
    const said = "No principal leads for 12 s: this one waits.";
    const members = await installation(3, (_verb, _fields, { name }) =>
      name === "member-2" ? null : ["UNPROC", said],
    );
    const client = connect(members);
    await client.info();
    expect(client.address).toBe(members[2]?.address ?? "");
    const without = connect(members.slice(0, 2));
    for (const asked of [without.ping(), without.listWorkflows(), without.info()]) {
      const failure = await asked.catch((error) => error);
      expect(failure).toBeInstanceOf(PrincipalUnreachableError);
      expect(failure.message).toBe(said);
    }
  });

  test("nobody is there: the message names all addresses, and a member that comes later is found", async () => {
    const members = await installation(3, () => null);
    for (const member of members) member.kill();
    const client = connect(members, { timeoutMs: 300 });
    await expect(client.ping()).rejects.toThrow(
      `No principal answered at ${members
        .map(({ address }) => address)
        .join(", ")
        .replace(/, ([^,]*)$/, " and $1")} within `,
    );
    const later = client.ping({ timeoutMs: 30_000 });
    await members[1]?.start();
    await later;
    expect(client.address).toBe(members[1]?.address ?? "");
  });

  test("as long as no member leads, it is as if none answered", async () => {
    const members = await installation(1, (verb) =>
      verb === "LSWORKFLOWS" ? ["UNPROC", "No principal leads for 10 s: this one, a, waits."] : null,
    );
    const failure = await connect(members)
      .listWorkflows()
      .catch((error) => error);
    expect(failure).toBeInstanceOf(PrincipalUnreachableError);
    expect(failure.message).toBe("No principal leads for 10 s: this one, a, waits.");
  });

  test("the client of an agent goes back to its first choice, once that has answered twice in a row", async () => {
    const members = await installation(3, () => null);
    const client = connect(members, { preferredBy: "agent-1", returns: true, lookMs: 20 });
    await client.ping();
    const first = memberAt(members, client.address);
    const moved = client.signals.next("moved");
    first?.kill();
    expect((await moved).address).not.toBe(first?.address ?? "");
    first?.asked.splice(0);
    const back = client.signals.next("moved", ({ address }) => address === first?.address);
    // What is in flight at that moment comes along.
    const waiting = client.listWorkflows().catch((error) => error);
    await first?.start();
    await back;
    await first?.heard("LSWORKFLOWS");
    expect(first?.asked.filter((verb) => verb === "PING").length).toBeGreaterThanOrEqual(2);
    await client.close();
    expect(await waiting).toBeInstanceOf(Error);
  });

  test("a member that joins is learned while the client of an agent works", async () => {
    const members = await installation(2, () => null);
    const [first, second] = members;
    const known: Member[] = [];
    if (first === undefined || second === undefined) throw new Error("no members");
    known.push(first);
    Object.defineProperty(first, "all", { value: () => known });
    const client = connect([first], { returns: true, lookMs: 20 });
    await client.info();
    const learned = client.signals.next("members", (all) => all.length === 2);
    known.push(second);
    expect((await learned).map(({ name }) => name)).toEqual(["member-0", "member-1"]);
  });
});
