/** Untrusted text with control sequences or misleading characters, none of which may reach a terminal. */
import { expect, test } from "bun:test";
import { escapedJson } from "../../src/terminal/foreign-text.ts";
import { startCluster } from "../support/cdktr.ts";
import { shellWorkflow } from "./support/fixtures.ts";

/** A title, a copy to the clipboard, a cleared screen, a C1 character, and invisible characters. */
const HOSTILE = "x\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J\u202eevil\u202c\u2066\u200b";
/** Anything other than text, tabs, newlines and colours. */
const OBEYED = /(?!\x1b\[[\d;]*m)[\x00-\x08\x0b-\x1f\x7f-\x9f]|\p{Cf}|[\u2028\u2029]/u;

/** A text as a YAML string. */
const quoted = (text: string) => escapedJson(JSON.stringify(text));

test("names, files, errors, labels, parameters and output of others are shown, not sent", async () => {
  await using cluster = await startCluster({
    workflows: {
      [`f${HOSTILE.replaceAll("/", "")}\nb.yml`]: "name: x\n",
      "bad.yml": `nam${HOSTILE}: x\n`,
      "esc.yml": shellWorkflow({ a: { sh: 'printf "%s\\n" "$CDKTR_PARAM_P"; exit 3' } }).replace(
        /^name: .*$/m,
        `name: "N\u202eevil"\ndescription: ${quoted(HOSTILE)}\nparams: { p: "" }`,
      ),
    },
  });
  const agent = await cluster.startAgent(["--label", `k=v${HOSTILE}`]);
  const commands = [
    ["run", "esc", "-P", `p=${HOSTILE}`, "--follow"],
    ["workflow", "list"],
    ["workflow", "list", "--json"],
    ["workflow", "show", "esc"],
    ["workflow", "validate", cluster.workflowDirectory],
    ["runs", "list"],
    ["logs", "query", "--verbose"],
    ["logs", "query", "--json"],
    ["agents", "list"],
    ["run", `no${HOSTILE}such`],
    ["runs", "show", HOSTILE],
    ["db", "query", `select '${HOSTILE}' as a`],
    ["db", "query", `select ${HOSTILE}`],
    [HOSTILE],
  ];
  // The first one makes what the others show.
  const [first = [], ...rest] = commands;
  const outputs = [
    await cluster.cdktr(first),
    ...(await Promise.all(rest.map((command) => cluster.cdktr(command)))),
  ].map(({ stdout, stderr }, i) => ({ command: commands[i]?.slice(0, 2), text: stdout + stderr }));
  outputs.push({ command: ["agent's log"], text: agent.stderr });
  outputs.push({ command: ["principal's log"], text: cluster.principal?.stderr ?? "" });
  const bad = outputs.flatMap(({ command, text }) => {
    const match = OBEYED.exec(text);
    return match === null
      ? []
      : [{ command, near: text.slice(Math.max(0, match.index - 60), match.index + 20) }];
  });
  expect(bad).toEqual([]);
  expect(outputs[0]?.text).toContain("<U+202E>evil");
});
