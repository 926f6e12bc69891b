import { NotFoundError } from "../../errors.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";

export default command({
  meta: { name: "drain", description: "Let an agent finish its runs and take no new ones" },
  args: {
    id: {
      type: "positional",
      required: true,
      description: "The agent's id, as shown by 'cdktr agents list'",
    },
    ...principalArg,
  },
  extras: {
    completes: { id: "agent" },
    details: "The agent exits when its last run is over. Waiting runs go to other agents.",
    topic: "agents",
    examples: [{ command: "cdktr agents drain worker-3", does: "before maintenance of its host" }],
  },
  async run({ args }) {
    await withPrincipal(args, async ({ client }) => {
      const agents = await client.registeredAgents();
      const agent = agents.find(({ agent_id }) => agent_id === args.id);
      if (agent === undefined) {
        const near = nearest(
          args.id,
          agents.map(({ agent_id }) => agent_id),
        );
        throw new NotFoundError(`No agent has the id '${args.id}'.`, {
          hint: near === undefined ? "See 'cdktr agents list'." : `Did you mean '${near}'?`,
        });
      }
      await client.drainAgent(args.id);
      say(
        agent.running_workflows === 0
          ? `Agent ${args.id} is draining: it has no runs and exits now.`
          : `Agent ${args.id} is draining: it finishes ${plural(agent.running_workflows, "run")} and takes no new ones.`,
      );
    });
  },
});
