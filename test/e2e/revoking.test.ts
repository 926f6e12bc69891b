import { expect, test } from "bun:test";
import { CdktrProcess, cdktr, freePorts } from "../support/cdktr.ts";
import { gate, shellWorkflow, TemporaryDirectory, until } from "./support/fixtures.ts";

const LINES = 3000;

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
  // Half of the lines, then those after the principal was killed.
  const count = `i=0; while [ $i -lt ${LINES / 2} ]; do echo "$0 $i"; i=$((i+1)); [ $((i % 100)) -ne 0 ] || sleep 0.05; done`;
  const spoken = `sh -c '${count}' first; ${gate(a.path("go"))}; sh -c '${count}' second`;
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
  for (const name of others) {
    expect((await run("keys", "revoke", name)).code).toBe(0);
    await principal.waitFor(new RegExp(`Revoked: ${name}`));
  }
  for (const guest of guests) {
    const { code, stderr } = await guest.finished;
    expect(`${code}: ${stderr}`).toMatch(/^3: [\s\S]*refuses the key guest-\d in .*: it was revoked/);
  }
  await until("the first half is there", () => said(`first ${LINES / 2 - 1}`));
  await until("it waits", () => said("waiting"));

  principal.kill("SIGKILL");
  await principal.finished;
  await Bun.write(a.path("go"), "");
  await using again = new CdktrProcess(["start", "principal"], onA);
  await again.waitFor(/secured: encrypted/);
  expect((await follower.finished).code).toBe(0);
  const expected = ["first", "second"].flatMap((half) =>
    Array.from({ length: LINES / 2 }, (_, number) => `${half} ${number}`),
  );
  const spokenIn = (text: string) =>
    [...text.matchAll(/"payload":"((?:first|second) \d+)"/g)].map(([, payload]) => payload);
  expect(spokenIn(follower.stdout)).toEqual(expected);
  const history = await cdktr(["logs", "query", "--workflow", "talk", "-n", "10000", "--json"], asCarol);
  expect(spokenIn(history.stdout)).toEqual(expected);
  for (const text of [again.stderr, principal.stderr])
    expect(text).not.toMatch(/lines or messages were dropped/);
}, 60_000);
