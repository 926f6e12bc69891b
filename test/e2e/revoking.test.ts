import { expect, test } from "bun:test";
import { CdktrProcess, cdktr, freePorts } from "../support/cdktr.ts";
import { gate, shellWorkflow, TemporaryDirectory, until } from "./support/fixtures.ts";

/** The log lines after the principal was killed. */
const LINES = 1500;

test("while keys are revoked, and the principal is killed, the others lose no line and get none twice", async () => {
  using a = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0] = await freePorts(3);
  const env = {
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(logsIn),
    CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
    CDKTR_APP_DATA_DIRECTORY: a.path("data"),
    CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "2000",
  };
  const onA = { cwd: a.root, env };
  const run = (...words: string[]) => cdktr(words, onA);
  await run("keys", "init");
  // Lines until all those who are to be shut out are, and further ones after the principal was killed.
  const talk = (word: string, goesOn: string) =>
    `i=0; while ${goesOn}; do echo "${word} $i"; i=$((i+1)); [ $((i % 20)) -ne 0 ] || sleep 0.05; done`;
  const spoken = [
    talk("first", `[ ! -e ${a.path("enough")} ]`),
    `echo $i > ${a.path("count")}`,
    gate(a.path("go")),
    talk("second", `[ $i -lt ${LINES} ]`),
  ].join("; ");
  await Bun.write(a.path("workflows/talk.yml"), shellWorkflow({ talk: { sh: spoken } }));
  const principal = new CdktrProcess(["start", "principal"], onA);
  await principal.waitFor(/secured: encrypted/);
  const keyOf = async (name: string, role: string) =>
    (await run("keys", "add", name, "--role", role)).stdout.trim();
  const agentKey = await keyOf("worker", "agent");
  const carol = await keyOf("carol", "client");
  await using agent = new CdktrProcess(["start", "agent"], {
    cwd: a.root,
    env: { ...env, CDKTR_APP_DATA_DIRECTORY: a.path("host"), CDKTR_KEY_FILE: agentKey },
  });
  await agent.waitFor(/is registered/);
  const asCarol = { ...onA, env: { ...env, CDKTR_KEY_FILE: carol } };
  const others: string[] = [];
  for (let number = 0; number < 5; number++) {
    const name = `guest-${number}`;
    await keyOf(name, "client");
    others.push(name);
  }
  // Those who will be shut out, with a connection each to what they may read.
  const guests = others.map(
    (name) =>
      new CdktrProcess(["logs", "tail"], {
        ...onA,
        env: { ...env, CDKTR_KEY_FILE: a.path("data/keys", `${name}.key`) },
      }),
  );
  await using follower = new CdktrProcess(["run", "talk", "--follow", "--wait", "--json"], asCarol);
  const said = (text: string) => follower.stdout.includes(text);
  await until(
    "lines come",
    () => said("first 10") && guests.every(({ stdout }) => stdout.includes("first ")),
  );
  for (const [number, guest] of guests.entries()) {
    expect((await run("keys", "revoke", `guest-${number}`)).code).toBe(0);
    await principal.waitFor(new RegExp(`Revoked: guest-${number}`));
    const { code, stderr } = await guest.finished;
    expect(`${code}: ${stderr}`).toMatch(/^3: [\s\S]*refuses the key guest-\d in .*: it was revoked/);
  }
  await Bun.write(a.path("enough"), "");
  await until("it waits", () => said("waiting"));
  const lines = { first: Number(await Bun.file(a.path("count")).text()), second: LINES };

  principal.kill("SIGKILL");
  await principal.finished;
  await Bun.write(a.path("go"), "");
  await using again = new CdktrProcess(["start", "principal"], onA);
  await again.waitFor(/secured: encrypted/);
  expect((await follower.finished).code).toBe(0);
  const expected = Object.entries(lines).flatMap(([word, count]) =>
    Array.from({ length: count }, (_, number) => `${word} ${number}`),
  );
  const spokenIn = (text: string) =>
    [...text.matchAll(/"payload":"((?:first|second) \d+)"/g)].map(([, payload]) => payload);
  expect(spokenIn(follower.stdout)).toEqual(expected);
  const history = await cdktr(["logs", "query", "--workflow", "talk", "-n", "1000000", "--json"], asCarol);
  expect(spokenIn(history.stdout)).toEqual(expected);
  for (const text of [again.stderr, principal.stderr])
    expect(text).not.toMatch(/lines or messages were dropped/);
}, 60_000);
