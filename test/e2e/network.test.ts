import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { decodeJoinToken } from "../../src/protocol/join-token.ts";
import type { Finished } from "../support/cdktr.ts";
import { until } from "./support/fixtures.ts";
import { type Host, Network, networkMissing, type Traffic } from "./support/network.ts";

const [API, INTAKE, LIVE] = [5561, 5562, 5563];
const PORTS = [API, INTAKE, LIVE];
/** Texts that must not be readable on the wire: the id and name of a workflow, a word that it prints, the value of a parameter. */
const MARKS = ["marked-flow", "Marked Name", "marked-log-line", "marked-parameter"];
const WORKFLOW = `name: Marked Name
params: { word: none }
tasks:
  say:
    name: Say
    config: !Subprocess
      cmd: sh
      args: ["-c", "echo marked-log-line $CDKTR_PARAM_WORD"]
`;

const missing = await networkMissing();
if (missing !== undefined && !process.env.CI) console.log(`skipped: ${missing}`);

/** A run from another host, with the live log at a third place of the screen; until the run is over and its line was seen live. */
async function runFrom(desk: Host): Promise<void> {
  const tail = desk.start(["logs", "tail", "--json"]);
  try {
    await until("the line is in the live log", async () => {
      const { code, stdout, stderr } = await desk.run([
        "run",
        "marked-flow",
        "-P",
        "word=marked-parameter",
        "--follow",
        "--wait",
      ]);
      expect(`${code} ${stderr}`).toStartWith("0 ");
      expect(stdout).toContain("marked-log-line marked-parameter");
      return tail.stdout.includes("marked-log-line marked-parameter");
    });
  } finally {
    await tail.stop();
  }
}

/** Text of the traffic: `5561 to: bytes, what was found`. */
function inWords(traffic: readonly Traffic[]): string[] {
  return traffic.map(({ port, direction, bytes, found }) =>
    [`${port} ${direction}: ${bytes > 50 ? "traffic" : "nothing"}`, ...found].join(", "),
  );
}

/** A place for keys on a host, with a key file in it that was copied there. */
function bring(
  host: Host,
  place: string,
  from: string,
  as: "agent.key" | "client.key",
): Record<string, string> {
  const data = host.path(place);
  mkdirSync(`${data}/keys`, { recursive: true, mode: 0o700 });
  copyFileSync(from, `${data}/keys/${as}`);
  chmodSync(`${data}/keys/${as}`, 0o600);
  return { CDKTR_APP_DATA_DIRECTORY: data };
}

test.if(missing === undefined || process.env.CI !== undefined)(
  "hosts on a network: whoever has a key works unread, whoever has none gets nowhere and learns why",
  async () => {
    if (missing !== undefined) throw new Error(missing);
    await using network = await Network.create(PORTS);
    const a = await network.host("alpha");
    const b = await network.host("beta");
    const c = await network.host("gamma");
    const desk = await network.host("desk");
    for (const host of [a, desk]) writeFileSync(host.path(".env"), `CDKTR_PRINCIPAL_HOST=${a.address}\n`);
    mkdirSync(a.path("workflows"));
    writeFileSync(a.path("workflows/marked-flow.yml"), WORKFLOW);
    const principalAt = ["--principal", a.address];

    // First without keys: the listener at the wire can read, on every port and in both directions where there is something to read.
    const open = a.start(["start", "principal", "--insecure"]);
    await open.waitFor(/Principal ready/);
    const openAgent = b.start(["start", "agent", ...principalAt]);
    await openAgent.waitFor(/is registered/);
    await runFrom(desk);
    await Promise.all([openAgent.stop(), open.stop()]);
    expect(inWords(await network.heard(MARKS))).toEqual([
      `${API} to: traffic, marked-flow, marked-parameter`,
      `${API} from: traffic, marked-flow, Marked Name, marked-log-line, marked-parameter`,
      `${INTAKE} to: traffic, marked-flow, Marked Name, marked-log-line, marked-parameter`,
      `${INTAKE} from: traffic`,
      `${LIVE} to: traffic, marked-flow`,
      `${LIVE} from: traffic, marked-flow, Marked Name, marked-log-line, marked-parameter`,
    ]);

    // Keys, on the principal's host.
    expect((await a.run(["keys", "init"])).code).toBe(0);
    const principal = a.start(["start", "principal"]);
    await principal.waitFor(/secured: encrypted/);
    const deskKey = (await a.run(["keys", "add", "carol"])).stdout.trim();
    bring(desk, ".cdktr", deskKey, "client.key");
    const tokenOf = async (...args: string[]) =>
      (await a.run(["join-token", "create", ...args])).stdout.trim();
    const token = await tokenOf();
    expect(decodeJoinToken(token)).toMatchObject({ host: a.address, port: API });

    // A host with the file, and a token that was pasted.
    const agent = b.start(["start", "agent", "--join", token], { env: { CDKTR_RETRY_ATTEMPTS: "2" } });
    await agent.waitFor(/Joined the principal at 10\.77\.0\.1:5561 as beta/);
    await agent.waitFor(/Agent beta is registered/);
    await principal.waitFor(/beta joined with a token: its key has the role agent/);
    await network.save(API, c.path("recorded"));
    await runFrom(desk);
    const agentKey = JSON.parse(readFileSync(b.path(".cdktr/keys/agent.key"), "utf8"));
    const secrets = [token, decodeJoinToken(token).secretKey, agentKey.secret_key];
    const plain = [...MARKS, ...secrets, agentKey.public_key, "REGISTERAGENT", "RUNNING", "beta"];
    expect(inWords(await network.heard(plain))).toEqual(
      PORTS.flatMap((port) => [`${port} to: traffic`, `${port} from: traffic`]),
    );

    // Another host. Each of its ways in is tried at once with the others.
    const data = (place: string) => ({ CDKTR_APP_DATA_DIRECTORY: c.path(place) });
    const once = { CDKTR_RETRY_ATTEMPTS: "1" };
    const agentWith = (env: Record<string, string>) =>
      c.run(["start", "agent", ...principalAt], { env: { ...once, ...env } });
    const join = (text: string, place: string, ...more: string[]) =>
      c.run(["start", "agent", "--join", "-", ...more], {
        stdin: text,
        env: { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "1000", ...data(place) },
      });
    const formerKey = (await a.run(["keys", "add", "former", "--role", "agent"])).stdout.trim();
    const former = bring(c, "former", formerKey, "agent.key");
    expect((await a.run(["keys", "revoke", "former"])).code).toBe(0);
    await principal.waitFor(/Revoked: former/);
    await c.run(["keys", "init"], { env: data("elsewhere") });
    const otherKey = bring(c, "other", c.path("elsewhere/keys/admin.key"), "agent.key");
    const otherToken = (
      await c.run(["join-token", "create", "--address", a.address], { env: data("elsewhere") })
    ).stdout.trim();
    const withdrawn = await a.run(["join-token", "create"]);
    const withdrawnId = /Token (\S+):/.exec(withdrawn.stderr)?.[1] ?? "";
    expect((await a.run(["join-token", "revoke", withdrawnId])).code).toBe(0);
    const expired = await tokenOf("--ttl", "1ms");
    const forgotten = await a.run(["join-token", "create"]);
    rmSync(a.path(".cdktr/keys/tokens", `${/Token (\S+):/.exec(forgotten.stderr)?.[1]}.json`));
    const nowhere = await tokenOf("--address", "10.77.0.99");
    const keyless = data("keyless");
    // A busy machine is not to be told as a silent principal: a refusal comes as soon as the other side is heard.
    const patient = { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "30000" };
    const client = bring(c, "client", deskKey, "agent.key");

    const outcome = ({ code, stderr }: Finished) => `${code}: ${stderr.replaceAll(/\s+/g, " ")}`;
    const tries: [Promise<Finished>, RegExp][] = [
      [agentWith(keyless), /^1: .*The principal at 10\.77\.0\.1:5561 is secured, and this client has no key/],
      [
        c.run(["runs", "list", ...principalAt], { env: { ...keyless, ...patient } }),
        /^3: .*is secured, and this client has no key/,
      ],
      [agentWith(former), /^1: .*refuses the key former in .*agent\.key: it was revoked/],
      [
        agentWith(otherKey),
        /^1: .*breaks off every handshake with the key admin in .*: probably it is not the principal that/,
      ],
      [
        c.run(["runs", "list", ...principalAt], { env: { ...otherKey, ...patient } }),
        /^3: .*breaks off every handshake with the key admin in .*: probably it is not the principal that/,
      ],
      [
        agentWith(client),
        /^1: .*REGISTERAGENT needs a key with the role agent; the key carol has the role client/,
      ],
      [
        join(token, "replayed"),
        /^1: .*This join token is used up: beta joined with it at .*have that key revoked/,
      ],
      [join(expired, "expired"), /^1: .*This join token expired at \d{4}-.*join-token create/],
      [join(withdrawn.stdout, "withdrawn"), /^1: .*This join token was revoked at \d{4}-/],
      [
        join(forgotten.stdout, "forgotten"),
        /^1: .*The principal at 10\.77\.0\.1:5561 does not know this join token.*join-token create/,
      ],
      [
        join(otherToken, "misled"),
        /^3: .*What answers at 10\.77\.0\.1:5561 breaks off every handshake with this join token/,
      ],
      [
        join(nowhere, "nowhere"),
        /^3: .*No principal answers at 10\.77\.0\.99:5561, the address in the join token/,
      ],
      [join(token.slice(0, -9), "damaged"), /^4: .*This join token is damaged or incomplete/],
      [join("hello", "none"), /^4: .*This is not a join token/],
    ];
    for (const [finished, expected] of tries) expect(outcome(await finished)).toMatch(expected);
    // No plain text of theirs either, and nobody has a key who had none.
    const heard = inWords(await network.heard([...plain, ...secrets, expired, "former", "gamma"]));
    expect(heard.filter((line) => line.includes(","))).toEqual([]);
    for (const place of [
      "replayed",
      "expired",
      "withdrawn",
      "misled",
      "nowhere",
      "damaged",
      "none",
      "keyless",
    ])
      expect(existsSync(c.path(place, "keys/agent.key"))).toBe(false);
    for (const line of [
      "Refused the key former from 10.77.0.3: it is revoked (api).",
      "Revoked: former.",
      "The key carol (client) is now known.",
      'A host that calls itself "gamma" connected with the key of join token',
      "was refused: This join token is used up: beta joined with it at",
      "was refused: This join token expired at",
      "Refused an unknown key from 10.77.0.3 (api).",
    ])
      expect(principal.stderr).toContain(line);
    for (const secret of secrets) expect(principal.stderr.includes(secret)).toBe(false);

    // What the token's first use sent, sent once more as it was.
    await replay(c, a.address);
    const keys: { name: string }[] = JSON.parse((await a.run(["keys", "list", "--json"])).stdout);
    expect(keys.map(({ name }) => name).sort()).toEqual(["admin", "beta", "carol", "former"]);

    // The agent's key is revoked while it is connected, and somebody watches.
    expect(connectionsFrom(a, b.address)).toBeGreaterThanOrEqual(2);
    const watcher = desk.start(["logs", "tail", "--json"]);
    await until("the watcher is connected", () => connectionsFrom(a, desk.address, LIVE) === 1);
    const agents = await desk.run(["agents", "list", "--json"]);
    expect(JSON.parse(agents.stdout)).toMatchObject([{ agent_id: "beta", status: "UP" }]);
    // It cannot end its connections itself: the principal does.
    agent.kill("SIGSTOP");
    expect((await a.run(["keys", "revoke", "beta"])).code).toBe(0);
    await until("its connections are gone", () => connectionsFrom(a, b.address) === 0);
    agent.kill("SIGCONT");
    expect(await agent.finished).toMatchObject({ code: 1 });
    expect(agent.stderr).toMatch(/The key beta was revoked|refuses the key beta in .*: it was revoked/);
    expect(connectionsFrom(a, desk.address, LIVE)).toBe(1);
    expect(watcher.ended).toBe(false);
    const again = await b.run(["start", "agent"], { env: once });
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/refuses the key beta in .*: it was revoked/);
  },
  240_000,
);

/** Sends to a port, from a host, what was recorded before. */
async function replay(host: Host, address: string): Promise<void> {
  const program = `
import socket, sys
with socket.create_connection((sys.argv[1], ${API}), 5) as peer:
    peer.sendall(open(sys.argv[2], "rb").read())
    peer.settimeout(2)
    try:
        while peer.recv(65536): pass
    except OSError: pass`;
  const child = Bun.spawn([...host.into, "python3", "-c", program, address, host.path("recorded")]);
  expect(await child.exited).toBe(0);
}

/** How many connections a host has accepted from an address. */
function connectionsFrom(host: Host, address: string, port?: number): number {
  const source = port === undefined ? "" : `sport = :${port}`;
  const words = [...host.into, "ss", "-Htn", "state", "established", ...source.split(" ").filter(Boolean)];
  const { stdout } = Bun.spawnSync(words);
  return stdout
    .toString()
    .split("\n")
    .filter((line) => line.includes(` ${address}:`) && new RegExp(`:(${PORTS.join("|")}) `).test(line))
    .length;
}
