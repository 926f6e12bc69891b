/** Posts messages as JSON, signed like the requests that webhook listeners of cdktr check. */
import { createHmac } from "node:crypto";
import type { WebhookSettings } from "../../../workflow/channels.ts";
import type { ChannelSecrets } from "../channel-secrets.ts";
import { post } from "./http-post.ts";
import { SendError } from "./sender.ts";
import type { Transport } from "./transport.ts";

/** @param now the time, ms since the epoch */
export function webhookTransport(
  settings: WebhookSettings,
  secrets: ChannelSecrets,
  now: () => number,
): Transport {
  return {
    async send({ json }, { id }, signal) {
      const url = await secrets.textOf("The URL of the webhook", settings.url, signal);
      const hidden = typeof settings.url === "string" ? [] : [url];
      const headers: Record<string, string> = {};
      for (const [name, given] of Object.entries(settings.headers ?? {})) {
        const value = await secrets.textOf(`The header ${name} of the webhook`, given, signal);
        if (!/^[\t\x20-\x7e]*$/.test(value))
          throw new SendError(`The header ${name} of the webhook has characters that no header can hold.`);
        if (typeof given !== "string") hidden.push(value);
        headers[name] = value;
      }
      const body = JSON.stringify(json);
      // The same at each try, so that whoever gets it twice can tell.
      headers["X-Cdktr-Delivery"] = id;
      if (settings.secret !== undefined) {
        const secret = await secrets.read("The secret of the webhook", settings.secret, signal);
        hidden.push(secret);
        const timestamp = String(Math.floor(now() / 1000));
        headers["X-Cdktr-Timestamp"] = timestamp;
        const hmac = createHmac("sha256", secret).update(`${timestamp}.${id}.${body}`);
        headers["X-Cdktr-Signature"] = `sha256=${hmac.digest("hex")}`;
      }
      const ca = await secrets.certificates(settings.ca_file);
      await post({ url, headers, body, ca, secrets: hidden, signal });
    },
  };
}
