/** What a principal tells a host that is about to become its agent. */
import type { Config } from "../../config.ts";
import { CdktrError } from "../../errors.ts";
import { connect } from "../../protocol/connect.ts";

/** Short, because a person is waiting. */
const PATIENCE_MS = 1500;

/** The port on which a principal accepts log lines; undefined when it does not answer this host, or only with a key. */
export async function logPortOf(host: string, port: number, config: Config): Promise<number | undefined> {
  const timeoutMs = Math.min(PATIENCE_MS, config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
  const client = connect(config, "agent", { host, port, timeoutMs });
  try {
    return (await client.info()).logs_listening_port;
  } catch (error) {
    if (error instanceof CdktrError) return undefined;
    throw error;
  } finally {
    await client.close();
  }
}
