/** Verifies the signature of a webhook request. */
import { createHmac, timingSafeEqual } from "node:crypto";

/** The result of a check. */
export type Verdict =
  | { readonly ok: true; readonly deliveryId: string | null; readonly scheme: null; readonly signature: null }
  | {
      readonly ok: true;
      readonly deliveryId: string | null;
      readonly scheme: "github" | "generic";
      readonly signature: string;
    }
  | { readonly ok: false; readonly status: 401 | 403; readonly why: string };

/**
 * Checks a signature: GitHub's (`X-Hub-Signature-256` over the body) or the generic one (`X-Cdktr-Signature` over
 * `TIMESTAMP.DELIVERY.BODY`, with `X-Cdktr-Timestamp` in s and `X-Cdktr-Delivery`). Both are `sha256=` and the HMAC in hex.
 * @param secret null when none is required
 * @param time a generic signature whose timestamp differs more from now is refused
 */
export function checkSignature(
  headers: Headers,
  body: Uint8Array,
  secret: string | null,
  { nowMs, toleranceMs }: { readonly nowMs: number; readonly toleranceMs: number },
): Verdict {
  const deliveryId =
    headers.get("x-cdktr-delivery") ?? headers.get("x-github-delivery") ?? headers.get("idempotency-key");
  if (secret === null) return { ok: true, deliveryId, scheme: null, signature: null };
  // Lower case, so that each signature has one spelling and is recognized when it is replayed.
  const generic = headers.get("x-cdktr-signature")?.trim().toLowerCase() ?? null;
  const github = headers.get("x-hub-signature-256")?.trim().toLowerCase() ?? null;
  if (generic !== null) {
    const timestamp = headers.get("x-cdktr-timestamp") ?? "";
    const delivery = headers.get("x-cdktr-delivery") ?? "";
    const signed = Buffer.concat([Buffer.from(`${timestamp}.${delivery}.`), body]);
    if (!matches(generic, secret, signed)) {
      return refusal(403, "X-Cdktr-Signature does not match timestamp, delivery and body");
    }
    if (!/^\d{1,12}$/.test(timestamp) || Math.abs(nowMs - Number(timestamp) * 1000) > toleranceMs) {
      return refusal(403, `X-Cdktr-Timestamp is not within ${toleranceMs / 1000} s of now`);
    }
    return {
      ok: true,
      deliveryId: delivery === "" ? null : delivery,
      scheme: "generic",
      signature: generic,
    };
  }
  if (github !== null) {
    if (!matches(github, secret, body)) return refusal(403, "X-Hub-Signature-256 does not match the body");
    return { ok: true, deliveryId, scheme: "github", signature: github };
  }
  return UNSIGNED;
}

/** Why a request is refused if it has no signature at all; undefined if it has one, so that its body must be read. */
export function refusalOfUnsigned(headers: Headers): (Verdict & { readonly ok: false }) | undefined {
  return headers.has("x-cdktr-signature") || headers.has("x-hub-signature-256") ? undefined : UNSIGNED;
}

function matches(given: string, secret: string, signed: Uint8Array): boolean {
  const wanted = createHmac("sha256", secret).update(signed).digest();
  const hex = /^sha256=([0-9a-f]{64})$/.exec(given)?.[1];
  // Always compare equal lengths, so that the timing reveals nothing.
  const compared = Buffer.from(hex ?? "00".repeat(wanted.length), "hex");
  return timingSafeEqual(compared, wanted) && hex !== undefined;
}

function refusal(status: 401 | 403, why: string): Verdict & { readonly ok: false } {
  return { ok: false, status, why };
}

const UNSIGNED = refusal(
  401,
  "the request is not signed: X-Hub-Signature-256 or X-Cdktr-Signature is required",
);
