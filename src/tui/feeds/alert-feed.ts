/** Reads the open alerts, and on their page what else there is. */

import { PrincipalUnreachableError } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { RequestRefusedError } from "../../protocol/client.ts";
import { currentPage } from "../navigation.ts";
import type { AlertData } from "../state.ts";
import type { Store } from "../store.ts";

/** How many alerts are read. */
const MOST_ALERTS = 500;

/** Reads them; what cannot be told now is told in a later round. */
export async function readAlerts(
  client: Pick<PrincipalClient, "call">,
  store: Store,
  request: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  if (store.state.data.alertsMissing !== null) return;
  const list = (which: "open" | "dead") => client.call("LSALERTS", { which, limit: MOST_ALERTS }, request);
  try {
    const known = store.state.data.alerts;
    const alerts = await list("open");
    let read: AlertData = { dead: [], channels: [], queries: [], ...known, alerts };
    if (currentPage(store.state).kind === "alerts") {
      const [dead, channels, queries] = await Promise.all([
        list("dead"),
        client.call("LSCHANNELS", {}, request),
        client.call("LSALERTQUERIES", {}, request),
      ]);
      read = { alerts, dead, channels, queries };
    }
    // What has not changed stays the same object, so that data derived from it stays valid.
    if (JSON.stringify(read) === JSON.stringify(known)) return;
    if (known !== null && JSON.stringify(alerts) === JSON.stringify(known.alerts))
      read = { ...read, alerts: known.alerts };
    store.update(({ data }) => {
      data.alerts = read;
    });
  } catch (error) {
    if (error instanceof PrincipalUnreachableError || request.signal.aborted) throw error;
    if (!(error instanceof RequestRefusedError)) return;
    store.update(({ data }) => {
      data.alertsMissing = "This principal is too old to know alerts.";
    });
  }
}
