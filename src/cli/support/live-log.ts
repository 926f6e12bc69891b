/** How commands read the live log and the history of log lines. */
import type { AskForPage } from "../../protocol/log-search.ts";
import { LogSubscription } from "../../protocol/log-subscription.ts";
import type { Connection } from "./connect.ts";
import { say } from "./report.ts";

/** A subscription to the live log of one workflow, or of all; not connected yet. */
export function subscribe({ client, info }: Connection, workflowId: string | undefined): LogSubscription {
  return new LogSubscription({ client, port: info.logs_publishing_port, workflowId });
}

/** Asks for pages of the history, waiting as long as the principal is alive. Each warning is printed to stderr once. */
export function askPatiently({ client, patiently }: Connection): AskForPage {
  const said = new Set<string>();
  return async (search) => {
    const page = await patiently((options) => client.searchLogs(search, options));
    if (page.warning !== null && !said.has(page.warning)) {
      said.add(page.warning);
      say(`warning: ${page.warning}`);
    }
    return page;
  };
}
