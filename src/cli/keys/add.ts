import { command } from "../support/command.ts";
import { changeKeys, dataDirArg, roleOf } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "add", description: "Create a key for an agent, a client or an admin" },
  args: {
    name: {
      type: "positional",
      required: true,
      description: "Who or what it is for, such as worker-1 or alice",
    },
    role: {
      type: "string",
      default: "client",
      valueHint: "ROLE",
      description:
        "agent: fetches work and reports; viewer: reads; client: triggers and reads; admin: everything",
    },
    ...dataDirArg,
  },
  extras: {
    completes: { role: "access" },
    details:
      "Prints the path of the new key file. Copy it to where it is used, over a channel that nobody else can read, and remove it here. A running principal accepts the key at once.",
    topic: "security",
    examples: [
      { command: "cdktr keys add alice", does: "a person who triggers and reads" },
      {
        command: "cdktr keys add office-screen --role viewer",
        does: "a screen that shows, and changes nothing",
      },
      { command: "cdktr keys add worker-1 --role agent", does: "an agent that does not join with a token" },
    ],
  },
  async run({ args }) {
    const role = roleOf(args.role);
    const deed = { action: "key.add", subject: args.name, detail: { role } };
    const path = changeKeys(args["data-dir"], deed, (store) => store.add(args.name, role, Date.now()));
    await printLine(path);
    const place = role === "agent" ? "agent.key" : "client.key";
    say(`The key ${args.name} has the role ${role}. Copy this file to the other host and remove it here.`);
    say(
      `Put it there as keys/${place} in the data directory (mode 0600, the directory 0700), or set CDKTR_KEY_FILE to its path.`,
    );
  },
});
