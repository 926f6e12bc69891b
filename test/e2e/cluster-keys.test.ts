/** From one principal to several and back: the state moves, and keys are those of all. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CdktrProcess, cdktr } from "../support/cdktr.ts";
import { Installation, type TestMember } from "../support/installation.ts";
import { shellWorkflow, until } from "./support/fixtures.ts";

setDefaultTimeout(180_000);

test("one principal becomes three and one again: its queue goes along, and who is shut out anywhere is shut out everywhere", async () => {
  await using installation = await Installation.start(0, {
    workflows: { "hello.yml": shellWorkflow({ greet: { sh: "echo hello" } }) },
  });
  const directory = join(installation.directory, "member-1");
  mkdirSync(directory);
  const alone = {
    cwd: directory,
    env: {
      ...(await installation.settings("member-1")),
      CDKTR_STORE_URL: undefined,
      CDKTR_HISTORY_URL: undefined,
      CDKTR_HISTORY_DATA: undefined,
    },
  };
  await cdktr(["keys", "init"], alone);
  let single = new CdktrProcess(["start", "principal"], alone);
  await single.waitFor(/ready at/);
  const queued = JSON.parse((await cdktr(["run", "hello", "--json"], alone)).stdout);
  await single.stop();

  const moved = await cdktr(["db", "move", "--to", installation.postgres.url()], alone);
  expect(`${moved.code} ${moved.stderr}`).toMatch(
    /^0 .*Moved the state of .* which are the same on both sides/s,
  );
  expect(moved.stderr).not.toContain("s3cret");
  const refused = await cdktr(["start", "principal"], alone);
  expect(`${refused.code} ${refused.stderr}`).toMatch(/^2 .*was moved into PostgreSQL.*Set CDKTR_STORE_URL/s);

  for (let n = 0; n < 3; n++) await installation.startMember();
  const [a, b, c] = installation.members as [TestMember, TestMember, TestMember];
  const on = (member: TestMember, ...words: string[]) => installation.cdktr(member, words);
  // Every host has an admin's key. A token that is made on one is good at another.
  const address = `127.0.0.1:${c.port}`;
  const token = (await on(b, "join-token", "create", "--address", address)).stdout.trim();
  const host = join(installation.directory, "host");
  mkdirSync(host);
  await using agent = new CdktrProcess(["start", "agent", "--join", token], {
    cwd: host,
    env: { ...a.env, CDKTR_STORE_URL: undefined, CDKTR_APP_DATA_DIRECTORY: join(host, "data") },
  });
  await agent.waitFor(/is registered/);
  const statusOf = async (member: TestMember, run: string) =>
    JSON.parse((await on(member, "runs", "show", run, "--json")).stdout).status;
  await until(
    "what was queued before is done",
    async () => (await statusOf(b, queued.workflow_instance_id)) === "COMPLETED",
  );

  await agent.stop();

  // A key of one host, in use at all.
  const guest = (await on(a, "keys", "add", "guest")).stdout.trim();
  const asGuest = (member: TestMember, ...words: string[]) =>
    installation.cdktr(member, words, { env: { CDKTR_KEY_FILE: guest } });
  for (const member of [a, b, c])
    await until(
      `${member.name} knows the key`,
      async () => (await asGuest(member, "principals", "list")).code === 0,
    );
  expect((await on(b, "keys", "revoke", "guest")).code).toBe(0);
  for (const member of [a, b, c])
    await until(`${member.name} refuses it`, async () => {
      const { code, stderr } = await asGuest(member, "runs", "list");
      return code === 3 && stderr.includes("revoked");
    });

  for (const { process } of [a, b, c]) await process.stop();

  // A history that is in the way is seen before the state is moved.
  const history = join(directory, "history.db");
  writeFileSync(history, "");
  const blocked = await cdktr(["db", "move", "--to", "file"], {
    ...alone,
    env: { ...(await installation.settings("member-1")), CDKTR_DB_PATH: history },
  });
  expect(`${blocked.code} ${blocked.stderr}`).toMatch(
    /^1 .*There is a history .* already. Nothing was changed/s,
  );
  const back = await cdktr(["db", "move", "--to", "file"], {
    ...alone,
    env: { ...alone.env, CDKTR_STORE_URL: installation.postgres.url() },
  });
  expect(`${back.code} ${back.stderr}`).toMatch(/^0 .*Moved the state from .*No member leads/s);
  const stray = await on(b, "start", "principal");
  expect(`${stray.code} ${stray.stderr}`).toMatch(/^2 .*was moved to one principal/s);
  single = new CdktrProcess(["start", "principal"], alone);
  await single.waitFor(/ready at/);
  const { stdout: run } = await cdktr(["runs", "show", queued.workflow_instance_id, "--json"], alone);
  expect(JSON.parse(run).status).toBe("COMPLETED");
  const shutOut = await cdktr(["runs", "list"], { ...alone, env: { ...alone.env, CDKTR_KEY_FILE: guest } });
  expect(shutOut.stderr).toContain("revoked");
  await single.stop();
});
