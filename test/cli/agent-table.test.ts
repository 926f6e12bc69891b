/** `agents list` on narrow and wide terminals: no label is cut off. */
import { expect, test } from "bun:test";
import { agentTable } from "../../src/cli/support/agent-table.ts";
import { makeStyle } from "../../src/cli/support/style.ts";
import type { AgentSummary } from "../../src/contract/messages.ts";
import { width as widthOf } from "../../src/terminal/text.ts";

const NOW = 1_700_000_000_000;

const agent = (agent_id: string, labels: Record<string, string>): AgentSummary => ({
  agent_id,
  last_ping_timestamp: NOW * 1000,
  running_tasks: 3,
  host: "build-7",
  status: "DRAINING",
  running_workflows: 2,
  max_concurrent_workflows: 5,
  last_heartbeat_ms: NOW - 2000,
  labels: { host: "build-7", arch: "x64", os: "linux", cores: "16", ...labels },
  version: "0.2.0",
});

const AGENTS = [
  agent("build-7-gpu", { gpu: "a100", zone: "eu-central", role: "training" }),
  agent("build-7-plain", {}),
];
const AUTOMATIC = "arch=x64 os=linux cores=16";

const table = (width: number | undefined) => agentTable(AGENTS, NOW, { width, style: makeStyle(false) });

test.each([60, 80])("in %i columns the labels stand below their agents", (width) => {
  const [title, ...lines] = table(width);
  expect(title).toStartWith("AGENT");
  expect(title).not.toContain("LABELS");
  expect(lines.map((line) => line.slice(0, 15).trimEnd())).toEqual([
    "build-7-gpu    ".trimEnd(),
    "  gpu=a100 zone".slice(0, 15),
    ...(width === 60 ? ["  cores=16"] : []),
    "build-7-plain",
    "  arch=x64 os=l",
  ]);
  const text = lines.join(" ").replace(/ +/g, " ");
  expect(text).toContain(`gpu=a100 zone=eu-central role=training ${AUTOMATIC} build-7-plain`);
  expect(text).toEndWith(AUTOMATIC);
  for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
});

test.each([200, undefined])("in %p columns they are a column: first those that were given", (width) => {
  const lines = table(width);
  expect(lines).toHaveLength(3);
  expect(lines[0]).toEndWith("LABELS");
  expect(lines[1]).toEndWith(`gpu=a100 zone=eu-central role=training ${AUTOMATIC}`);
  expect(lines[2]).toEndWith(AUTOMATIC);
  expect(lines[1]).toContain("build-7  0.2.0");
});
