/** What commands record about the principal's files. */
import { afterEach, expect, test } from "bun:test";
import { recordDeed } from "../../src/cli/support/audited.ts";
import { takeAudit } from "../../src/storage/audit-file.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const { SUDO_USER } = process.env;
afterEach(() => {
  if (SUDO_USER === undefined) delete process.env.SUDO_USER;
  else process.env.SUDO_USER = SUDO_USER;
});

test("whatever the environment says of who used sudo, what was done is recorded", () => {
  using directory = new TemporaryDirectory();
  process.env.SUDO_USER = "x".repeat(50_000);
  recordDeed(directory.root, { action: "key.add", subject: "ada" });
  const broken: string[] = [];
  const lines = takeAudit(directory.root, (text) => broken.push(text));
  expect([lines.map(({ subject }) => subject), broken]).toEqual([["ada"], []]);
});
