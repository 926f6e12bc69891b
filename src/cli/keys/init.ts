import { command } from "../support/command.ts";
import { changeKeys, dataDirArg } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "init", description: "Create the principal's key pair and the admin's key" },
  args: { ...dataDirArg },
  extras: {
    exit: { 4: "There are keys already" },
    details:
      "From its next start, the principal encrypts all connections and accepts only keys that it knows; it may then listen on any address. Run this on the principal's host, as the principal's user.",
    topic: "security",
    examples: [{ command: "cdktr keys init", does: "once, before the principal is reached from elsewhere" }],
  },
  async run({ args }) {
    const deed = { action: "key.init", subject: "admin" };
    const path = changeKeys(args["data-dir"], deed, (store) => store.init(Date.now()));
    await printLine(path);
    say("The principal has keys. This file is the admin's key; commands on this host use it automatically.");
    say("Restart the principal, and give each agent that ran without keys a key:");
    say("  cdktr join-token create        for an agent on a new host");
    say("  cdktr keys add NAME            for a person or a program");
  },
});
