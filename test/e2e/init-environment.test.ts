/** What the environment says is of another installation: `init` writes nothing there unless it is told to. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { cdktr } from "../support/cdktr.ts";
import { TemporaryDirectory } from "./support/fixtures.ts";

test("a data directory of the environment gets no keys of a new project", async () => {
  using directory = new TemporaryDirectory();
  const [foreign, project] = [directory.path("foreign"), directory.path("project")];
  mkdirSync(foreign);
  const args = ["init", project, "--yes", "--keys", "--kind", "principal", "--host", "127.0.0.1"];
  const env = { CDKTR_APP_DATA_DIRECTORY: foreign };

  const planned = await cdktr([...args, "--dry-run"], { env });
  expect(planned.stderr).toContain(`data: in ${foreign}, OUTSIDE of the project`);
  const refused = await cdktr(args, { env });
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain(
    `CDKTR_APP_DATA_DIRECTORY in the environment is ${foreign}, outside of the project`,
  );
  expect(readdirSync(foreign)).toEqual([]);
  expect(existsSync(project)).toBe(false);

  // Both remedies of the message.
  const unset = await cdktr(args, { prefix: ["env", "-u", "CDKTR_APP_DATA_DIRECTORY"], env });
  expect(unset).toMatchObject({ code: 0 });
  expect(existsSync(`${project}/.cdktr/keys`)).toBe(true);
  expect(readdirSync(foreign)).toEqual([]);

  const meant = directory.path("meant");
  mkdirSync(meant);
  writeFileSync(`${meant}/.env`, `CDKTR_APP_DATA_DIRECTORY=${foreign}\n`);
  expect(await cdktr(["init", meant, ...args.slice(2)], { env })).toMatchObject({ code: 0 });
  expect(existsSync(`${foreign}/keys`)).toBe(true);
});
