import { LogSubscription } from "../../protocol/log-subscription.ts";
import type { Connection } from "./connect.ts";

/** A subscription to the live log of one workflow, or of all; not connected yet. */
export function subscribe(
  { client, info }: Pick<Connection, "client" | "info">,
  workflowId: string | undefined,
): LogSubscription {
  return new LogSubscription({
    client,
    port: info.logs_publishing_port,
    workflowId,
  });
}
