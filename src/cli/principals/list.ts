import type { MemberRole, PrincipalSummary } from "../../contract/messages.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatDuration } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the principals, who leads, and how far the others are" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "Any principal of an installation answers it, also while none leads. ROLE: single (there are no others), leader, follower, joining (it cannot lead now), changing (it takes the lead or gives it up), silent (it was not heard of lately). EPOCH: the number of the leader's term. LAG: how far the copy of a follower is behind the leader. WORKFLOWS: whether its workflow files are those of the leader. STORE: the median and the 99th percentile of its latest commits to PostgreSQL.",
    see: ["doctor", "agents list"],
    examples: [
      { command: "cdktr principals list", does: "who is there, and who leads" },
      {
        command: "cdktr principals list --json | jq -r '.[] | select(.role == \"leader\") | .name'",
        does: "the name of the leader, for a program",
      },
    ],
  },
  async run({ args }) {
    const principals = await withPrincipal(args, ({ client }) => client.call("LSPRINCIPALS", {}));
    if (args.json) return printJson(principals);
    for (const line of principalTable(principals, principalNow())) await printLine(line);
    for (const { name, problem } of principals) if (problem !== null) await printLine(`${name}: ${problem}`);
  },
});

function principalTable(principals: readonly PrincipalSummary[], now: number): string[] {
  const style = styleFor("stdout");
  const plain = (text: string) => text;
  const paints: Readonly<Record<MemberRole, (text: string) => string>> = {
    single: style.green,
    leader: style.green,
    follower: plain,
    joining: style.yellow,
    changing: style.yellow,
    silent: style.red,
  };
  return renderTable<PrincipalSummary>(
    [
      { title: "NAME", value: ({ name }) => name, flexible: true, least: 8 },
      { title: "ADDRESS", value: ({ host, api_port }) => hostAndPort(host, api_port) },
      { title: "ROLE", value: ({ role }) => role, paint: ({ role }) => paints[role] },
      { title: "EPOCH", value: ({ epoch }) => (epoch === null ? "-" : String(epoch)), align: "right" },
      {
        title: "SINCE",
        value: ({ since_ms }) => (since_ms === null ? "-" : formatDuration(Math.max(0, now - since_ms))),
      },
      { title: "LAG", value: lagOf },
      {
        title: "WORKFLOWS",
        value: ({ same_workflows: same }) => (same === null ? "-" : same ? "same" : "differ"),
        paint: ({ same_workflows: same }) => (same === false ? style.yellow : plain),
      },
      {
        title: "STORE",
        value: ({ store }) =>
          store === null ? "-" : `${store.p50_ms.toFixed(1)}/${store.p99_ms.toFixed(1)} ms`,
      },
      { title: "VERSION", value: ({ version }) => version },
    ],
    principals,
  );
}

function lagOf({ lag }: PrincipalSummary): string {
  if (lag === null) return "-";
  return lag.commits === 0 ? "none" : `${lag.commits} commits, ${formatDuration(lag.ms)}`;
}
