/** An agent of an installation with several members: the doors of one principal, each with ports of its own. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../scripts/support/ports.ts";
import type { MemberAddress } from "../../src/contract/messages.ts";
import type { PrincipalPorts } from "../../src/principal/principal.ts";
import { Dealer, type Message, Pull, Push, Router } from "../../src/zmq/index.ts";
import { TestPrincipal } from "../principal/support.ts";
import { until } from "../support/until.ts";
import { ended, Fleet, linesOf, shellWorkflow, trigger } from "./support/fleet.ts";

/** A door to a principal: hands on requests and log lines, and says that it is a member. */
class Door {
  readonly address: MemberAddress;
  #sockets: { close(): void }[] = [];
  /** Number of messages with log lines that came through. */
  lines = 0;

  constructor(
    readonly name: string,
    [api_port = 0, logs_listening_port = 0]: readonly number[],
    readonly to: PrincipalPorts,
    readonly all: () => readonly MemberAddress[],
  ) {
    this.address = { name, host: "127.0.0.1", api_port, logs_listening_port, logs_publishing_port: 1 };
  }

  async open(): Promise<void> {
    const { api_port, logs_listening_port } = this.address;
    const [front, back] = [new Router({ linger: 0 }), new Dealer({ linger: 0 })];
    const [pull, push] = [new Pull({ linger: 0 }), new Push({ linger: 0 })];
    this.#sockets = [front, back, pull, push];
    back.connect(`tcp://127.0.0.1:${this.to.api}`);
    push.connect(`tcp://127.0.0.1:${this.to.logsListening}`);
    await front.bind(`tcp://127.0.0.1:${api_port}`);
    await pull.bind(`tcp://127.0.0.1:${logs_listening_port}`);
    void each(front, (parts) => back.send(parts));
    void each(back, (parts) => front.send([...parts.slice(0, -1), this.#rewritten(parts.at(-1) ?? "")]));
    void each(pull, (parts) => {
      this.lines++;
      return push.send(parts);
    });
  }

  /** Like a process that is killed. */
  kill(): void {
    for (const socket of this.#sockets) socket.close();
  }

  #rewritten(reply: Uint8Array | string): string {
    const text = Buffer.from(reply).toString();
    if (!text.startsWith('SUCCESS\x01{"principal_id"')) return text;
    const { name: member, ...ports } = this.address;
    return `SUCCESS\x01${JSON.stringify({ ...JSON.parse(text.slice(8)), ...ports, member, members: this.all() })}`;
  }
}

async function each(socket: AsyncIterable<Message>, work: (parts: Message) => Promise<void>): Promise<void> {
  try {
    for await (const parts of socket) await work(parts);
  } catch {
    // It was closed.
  }
}

test("a run goes on when the agent's door is gone: the agent moves, also with its lines, and comes back by what it remembers", async () => {
  await using fleet = new Fleet();
  const gate = join(fleet.directory, "gate");
  await using principal = await new TestPrincipal({
    workflows: {
      "flow.yml": shellWorkflow({
        t: `echo first; while [ ! -e ${gate} ]; do sleep 0.05; done; seq 1 500; echo last`,
      }),
    },
  }).start();
  const ports = await freePorts(4);
  const all: MemberAddress[] = [];
  const doors = [0, 2].map((i) => new Door(`door-${i}`, ports.slice(i, i + 2), principal.ports, () => all));
  all.push(...doors.map(({ address }) => address));
  for (const door of doors) await door.open();
  const given = doors[0]?.address;
  // The other one is learned.
  const config = fleet.config(principal.ports, {
    CDKTR_PRINCIPALS: `127.0.0.1:${given?.api_port}`,
    CDKTR_LOGS_LISTENING_PORT: given?.logs_listening_port ?? 0,
    CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 500,
  });
  const client = principal.client();
  const agent = await fleet.agent(config);
  await agent.registered;
  const id = await trigger(client, "flow");
  const agentDirectory = join(config.CDKTR_APP_DATA_DIRECTORY, "agents", agent.id);
  const lines = (run = id) => linesOf(client, run);
  await until("its first line is there", async () => (await lines()).length > 0);

  const [first, second] = doors;
  if (first === undefined || second === undefined) throw new Error("no doors");
  const used = agent.principal === `127.0.0.1:${first.address.api_port}` ? first : second;
  const other = used === first ? second : first;
  used.kill();
  writeFileSync(gate, "");
  const run = await ended(client, id);
  expect([run.status, run.attempt]).toEqual(["COMPLETED", 1]);
  expect(await lines()).toEqual([
    "INFO first",
    ...Array.from({ length: 500 }, (_, i) => `INFO ${i + 1}`),
    "INFO last",
  ]);
  expect(agent.principal).toBe(`127.0.0.1:${other.address.api_port}`);
  expect(other.lines).toBeGreaterThan(0);
  await agent.stop();

  // Its settings name a door that is gone.
  first.kill();
  if (other === first) await second.open();
  expect(existsSync(join(agentDirectory, "members.json"))).toBe(true);
  expect(JSON.parse(readFileSync(join(agentDirectory, "members.json"), "utf8")).members).toEqual(all);
  const again = await fleet.agent(config);
  await again.registered;
  expect(again.principal).toBe(`127.0.0.1:${second.address.api_port}`);
  // Its lines go to the port of that door at once, not to the one in its settings.
  const before = second.lines;
  const next = await ended(client, await trigger(client, "flow"));
  expect((await lines(next.workflow_instance_id)).at(-1)).toBe("INFO last");
  expect(second.lines).toBeGreaterThan(before);
  await again.stop();
});
