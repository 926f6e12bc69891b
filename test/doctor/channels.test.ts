import { expect, test } from "bun:test";
import { judgeChannels } from "../../src/doctor/alert-checks.ts";

const fine = { channel: "ops", exists: true, pending: 0, dead: 0, error: null };

test("channels that fail, that are not there and that were given up are found; what waits for its time is not", () => {
  expect(judgeChannels([fine, { ...fine, pending: 3 }, { ...fine, error: "old" }])).toEqual([]);
  const messages = (over: Partial<Parameters<typeof judgeChannels>[0][number]>) =>
    judgeChannels([{ ...fine, ...over }]).map(({ severity, message }) => `${severity}: ${message}`);
  expect(messages({ pending: 1, error: "No route to mail." })).toEqual([
    "warning: Channel ops does not work, and an alert waits for it: No route to mail.",
  ]);
  expect(messages({ pending: 2, exists: false, error: "x" })).toEqual([
    "warning: There is no channel ops in _cdktr.yml, and 2 alerts wait for it.",
  ]);
  expect(messages({ dead: 1 })).toEqual(["warning: Channel ops could not be told of an alert, for good."]);
  expect(messages({ dead: 12, pending: 1, error: "x" })).toHaveLength(2);
});
