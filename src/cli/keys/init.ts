import { command } from "../support/command.ts";
import { dataDirArg, keyStore } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "init", description: "Make the principal's key pair and the key of its admin" },
  args: { ...dataDirArg },
  extras: {
    exit: { 4: "There are keys already" },
    details:
      "From its next start on, the principal encrypts everything and lets in only those whose keys it knows; it may then listen on any address. Run this on the principal's host, as the principal's user.",
    topic: "security",
    examples: [{ command: "cdktr keys init", does: "once, before the principal is reached from elsewhere" }],
  },
  async run({ args }) {
    const path = keyStore(args["data-dir"]).init(Date.now());
    await printLine(path);
    say("The principal has keys. This file is the admin's key; on this host it is used without further ado.");
    say("Start the principal again, and the agents that ran without keys with a key each:");
    say("  cdktr join-token create        for an agent on a new host");
    say("  cdktr keys add NAME            for a person or a program");
  },
});
