import { expect, test } from "bun:test";
import { join } from "node:path";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { diskFull, silent } from "../storage/operational-support.ts";
import { TestPrincipal, workflowText } from "./support.ts";

const damaged = () =>
  Object.assign(diskFull(), { message: "database disk image is malformed", code: "SQLITE_CORRUPT" });

test("while the state cannot even be read, workflows are listed and shown as ever, and it says what is missing", async () => {
  let fails = false;
  await using cluster = new TestPrincipal({
    workflows: { "hello.yml": workflowText({ top: 'cron: "0 0 1 1 *"' }) },
    wrapStore: () =>
      new SqliteOperationalStore({
        directory: join(cluster.directory, "data"),
        log: silent,
        beforeStatement: () => {
          if (fails) throw damaged();
        },
      }),
  });
  await cluster.start();
  const client = cluster.client();
  await client.runTask("hello", { dedupe_key: "x" });
  expect(await client.info()).toMatchObject({ runs: { pending: 1 }, state_error: null });
  const before = await client.listWorkflows();
  fails = true;
  expect(await client.listWorkflows()).toEqual(before);
  expect(before.hello?.schedule_cursor_ms).toBeNumber();
  expect((await client.getWorkflow("hello")).definition.tasks).toHaveLength(1);
  expect(await client.info()).toMatchObject({
    workflows: 1,
    runs: { pending: 1 },
    state_error: expect.stringMatching(/^The principal's state cannot be read: .*malformed/),
  });
  expect(await client.listRuns({ limit: 1 }).catch(String)).toContain("cannot be read");
  fails = false;
  expect((await client.info()).state_error).toBeNull();
});
