import { loadCurveKeys } from "../../protocol/key-file.ts";
import { LogSubscription } from "../../protocol/log-subscription.ts";
import type { Connection } from "./connect.ts";

/** A subscription to the live log of one workflow, or of all; not connected yet. */
export function subscribe(
  { client, config, info }: Pick<Connection, "client" | "config" | "info">,
  workflowId: string | undefined,
): LogSubscription {
  return new LogSubscription({
    client,
    host: config.CDKTR_PRINCIPAL_HOST,
    port: info.logs_publishing_port,
    curve: loadCurveKeys(config, "client"),
    workflowId,
  });
}
