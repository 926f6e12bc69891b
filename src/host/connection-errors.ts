/** Why a connection to a server has failed, in words. */
import { errorMessage } from "../errors.ts";

/** Certificates that are not trusted, by their codes in OpenSSL. */
const UNTRUSTED: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: "it is signed by itself",
  SELF_SIGNED_CERT_IN_CHAIN: "it was issued by an authority that is not known",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "it was issued by an authority that is not known",
  UNABLE_TO_GET_ISSUER_CERT: "it was issued by an authority that is not known",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "it was issued by an authority that is not known",
  CERT_HAS_EXPIRED: "it has expired",
  CERT_NOT_YET_VALID: "it is not valid yet",
  ERR_TLS_CERT_ALTNAME_INVALID: "it is for another host",
};

const CONNECTING: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ConnectionRefused: "connection refused",
  ENOTFOUND: "there is no host of this name",
  EAI_AGAIN: "the name cannot be looked up at the moment",
  ETIMEDOUT: "it does not answer",
  EHOSTUNREACH: "no way leads there",
  ENETUNREACH: "no way leads there",
};

/** Where it leads. */
interface Server {
  /** Without the port. */
  readonly hostname: string;
  /** With the port, as far as it says something. */
  readonly host: string;
}

/** The failure as a clause without a full stop, and as a sentence what to do about it. */
export function explainConnection(
  error: unknown,
  { hostname, host }: Server,
): { readonly message: string; readonly hint?: string } {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const untrusted = Object.hasOwn(UNTRUSTED, code) ? UNTRUSTED[code] : undefined;
  if (untrusted !== undefined) {
    const message = `the certificate of ${hostname} is not trusted: ${untrusted}`;
    return untrusted.includes("signed") || untrusted.includes("authority")
      ? { message, hint: "If that is meant to be so, name the certificate of its authority in ca_file." }
      : { message };
  }
  const connecting = Object.hasOwn(CONNECTING, code) ? CONNECTING[code] : undefined;
  if (connecting !== undefined) return { message: `cannot connect to ${host}: ${connecting}` };
  if (code === "EPROTO") return { message: `${host} does not speak TLS`, hint: "Is it http:// there?" };
  if (code === "ECONNRESET" || code === "ConnectionClosed")
    return { message: `${host} closed the connection without a response` };
  return { message: errorMessage(error).split("\n")[0]?.replace(/\.$/, "") ?? "it failed" };
}
