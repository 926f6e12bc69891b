/** Sends mail over SMTP. */
import { hostname } from "node:os";
import type { NodemailerError } from "nodemailer";
import { explainConnection } from "../../../host/connection-errors.ts";
import { plainText } from "../../../terminal/foreign-text.ts";
import { smtpOf } from "../../../workflow/channel-defaults.ts";
import type { MailSettings } from "../../../workflow/channels.ts";
import type { ChannelSecrets } from "../channel-secrets.ts";
import { SendError } from "./sender.ts";
import type { Transport } from "./transport.ts";

/** How long each step to a connection may take, ms. */
const STEP_MS = 30_000;
/** How long the server may say nothing, ms: it may look through a mail before it takes it, and whoever gives up then sends it twice. */
const SILENCE_MS = 100_000;
/** The most of what a server says that is told, characters. */
const MOST_TOLD = 300;

/** @param warn is told of recipients that the server did not take, when it took others */
export function mailTransport(
  settings: MailSettings,
  secrets: ChannelSecrets,
  warn: (message: string) => void,
): Transport {
  const { to, from = `cdktr <cdktr@${hostname()}>`, smtp } = settings;
  const { host, port, tls } = smtpOf(smtp);
  const server: Server = { hostname: host, host: `${host.includes(":") ? `[${host}]` : host}:${port}`, tls };
  return {
    async send({ subject, text, html }, { id, created_at_ms }, signal) {
      const password =
        smtp.password === undefined
          ? undefined
          : await secrets.read("The password of the mail server", smtp.password, signal);
      const ca = await secrets.certificates(smtp.ca_file);
      // Most principals send no mail.
      const { createTransport } = await import("nodemailer");
      const transport = createTransport({
        host,
        port,
        secure: tls === "implicit",
        requireTLS: tls === "starttls",
        ignoreTLS: tls === "none",
        // Whoever has a user means to log in, also if the server does not ask for it.
        ...(password === undefined || smtp.user === undefined
          ? {}
          : { auth: { user: smtp.user, pass: password }, forceAuth: true }),
        tls: { ...(ca === undefined ? {} : { ca }) },
        connectionTimeout: STEP_MS,
        greetingTimeout: STEP_MS,
        socketTimeout: SILENCE_MS,
        dnsTimeout: STEP_MS,
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      try {
        const { rejected } = await transport.sendMail({
          from: parsed(from),
          to: to.map(parsed),
          subject,
          text,
          html,
          date: new Date(created_at_ms),
          // The same at each try, so that a mail that comes twice can be told.
          messageId: `<${id}@${domainOf(from)}>`,
          // No holiday replies, please.
          headers: { "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All" },
          signal,
        });
        if (rejected.length > 0)
          warn(
            `The mail server ${server.host} did not take ${rejected.map(String).join(", ")}; the others get the mail.`,
          );
      } catch (error) {
        if (signal.aborted) throw new SendError(`Sending through ${server.host} was stopped.`);
        throw explained(error as NodemailerError, server, password);
      } finally {
        transport.close();
      }
    },
  };
}

/** An address with its name, as nodemailer takes it: a user of the mail server's host alone has no domain. */
function parsed(text: string): { name: string; address: string } {
  const [, name = "", address = ""] = /^([^<>]*)<([^<>]*)>$/.exec(text) ?? [];
  return address === ""
    ? { name: "", address: text }
    : { name: name.trim().replace(/^"(.*)"$/, "$1"), address: address.trim() };
}

function domainOf(from: string): string {
  return parsed(from).address.split("@")[1] ?? hostname();
}

/** A mail server. */
interface Server {
  /** Without the port. */
  readonly hostname: string;
  /** With the port. */
  readonly host: string;
  readonly tls: ReturnType<typeof smtpOf>["tls"];
}

/** Answers that are about the login, whatever was asked. */
const LOGIN: ReadonlySet<number> = new Set([530, 534, 535, 538]);

/** Why a mail could not be sent, and what to do. @param password of which no message has anything */
function explained(error: NodemailerError, server: Server, password: string | undefined): SendError {
  const { code, responseCode: status, response } = error;
  const { host, tls } = server;
  const raw = plainText(response ?? "")
    .replace(/\s+/g, " ")
    .trim();
  const safe = password === undefined ? raw : raw.replaceAll(password, "***");
  const answer = (safe.length > MOST_TOLD ? `${safe.slice(0, MOST_TOLD)}…` : safe).replace(/\.$/, "");
  const because = answer === "" ? "" : `: ${answer}`;
  if (code === "ETLS")
    return new SendError(`The mail server ${host} does not start TLS${because}.`, {
      hint: "If it speaks TLS from the beginning, write tls: implicit; if it never does, tls: none.",
    });
  if (code === "EAUTH" || (status !== undefined && LOGIN.has(status)))
    return new SendError(`The mail server ${host} refuses the login${because}.`, {
      hint:
        tls === "none"
          ? "Many servers let nobody log in without TLS: remove tls: none."
          : "Check user and password of smtp.",
    });
  if ((code === "EENVELOPE" || code === "EMESSAGE") && status !== undefined)
    return status >= 500
      ? new SendError(`The mail server ${host} refuses the mail${because}.`, {
          isPermanent: true,
          hint: "Check to and from of the channel, and whether the server takes mail of this host.",
        })
      : new SendError(`The mail server ${host} does not take the mail now${because}.`);
  if (code === "EPROTOCOL" && status === undefined)
    return new SendError(`${host} does not speak SMTP: it says ${answer}.`, { hint: "Check host and port." });
  if (status !== undefined) return new SendError(`The mail server ${host} serves nobody now${because}.`);
  return unreachable(error, server);
}

/** Codes that nodemailer has put its own in the place of, by its messages. */
const CODES: readonly (readonly [RegExp, string])[] = [
  [/self.signed certificate in certificate chain/i, "SELF_SIGNED_CERT_IN_CHAIN"],
  [/self.signed certificate/i, "DEPTH_ZERO_SELF_SIGNED_CERT"],
  [/unable to (verify the first|get (local )?issuer) certificate/i, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
  [/certificate has expired/i, "CERT_HAS_EXPIRED"],
  [/certificate is not yet valid/i, "CERT_NOT_YET_VALID"],
  [/certificate's altnames/i, "ERR_TLS_CERT_ALTNAME_INVALID"],
];

/** Why there was no conversation. */
function unreachable(error: NodemailerError, server: Server): SendError {
  const { code, message } = error;
  const { host, tls } = server;
  if (/WRONG_VERSION_NUMBER|wrong version number/.test(message))
    return tls === "starttls"
      ? new SendError(`The mail server ${host} agrees to start TLS, and then does not speak it.`, {
          hint: "If it has no TLS at all, write tls: none.",
        })
      : new SendError(`The mail server ${host} does not speak TLS from the beginning.`, {
          hint: "If it offers STARTTLS, write tls: starttls; if it has no TLS at all, tls: none.",
        });
  if (code === "ETIMEDOUT" && message.startsWith("Greeting"))
    return new SendError(`${host} takes the connection, and says nothing.`, {
      hint:
        tls === "implicit"
          ? "Check host and port."
          : "If it speaks TLS from the beginning, write tls: implicit.",
    });
  if (code === "ETIMEDOUT")
    return new SendError(`The mail server ${host} does not answer.`, {
      hint: "Check host, port, and firewalls.",
    });
  const found = CODES.find(([words]) => words.test(message))?.[1] ?? /\bE[A-Z]{4,}\b/.exec(message)?.[0];
  const { message: why, hint } = explainConnection(
    Object.assign(new Error(message), { code: found ?? (code === "ECONNECTION" ? "ECONNRESET" : code) }),
    server,
  );
  return new SendError(`${why.charAt(0).toUpperCase()}${why.slice(1)}.`, { hint });
}
