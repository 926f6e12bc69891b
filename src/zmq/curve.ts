import type { Capability } from "./constants.ts";
import { ZmqError } from "./error.ts";
import { check, libzmq } from "./libzmq.ts";

/** A CURVE key pair, each key as 40 characters of Z85 text. */
export interface CurveKeyPair {
  readonly publicKey: string;
  readonly secretKey: string;
}

const KEY_CHARACTERS = 40;

/** Generates a random CURVE key pair. */
export function curveKeyPair(): CurveKeyPair {
  const publicKey = Buffer.alloc(KEY_CHARACTERS + 1);
  const secretKey = Buffer.alloc(KEY_CHARACTERS + 1);
  check("make a key pair", () => libzmq().zmq_curve_keypair(publicKey, secretKey));
  return {
    publicKey: publicKey.toString("latin1", 0, KEY_CHARACTERS),
    secretKey: secretKey.toString("latin1", 0, KEY_CHARACTERS),
  };
}

/** The public key that belongs to a secret key. */
export function curvePublicKey(secretKey: string): string {
  if (!isCurveKey(secretKey)) {
    throw new ZmqError("EINVAL", "derive a public key", { text: "a key has 40 characters of Z85" });
  }
  const publicKey = Buffer.alloc(KEY_CHARACTERS + 1);
  check("derive a public key", () => libzmq().zmq_curve_public(publicKey, secretKey));
  return publicKey.toString("latin1", 0, KEY_CHARACTERS);
}

/** Whether a text has the form of a key: 40 characters of the Z85 alphabet. */
export function isCurveKey(text: string): boolean {
  return /^[0-9A-Za-z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/.test(text);
}

/** Whether libzmq was built with a capability. */
export function has(capability: Capability): boolean {
  return libzmq().zmq_has(capability) === 1;
}

/** The version of libzmq, as `"4.3.5"`. */
export function version(): string {
  const parts = [new Int32Array(1), new Int32Array(1), new Int32Array(1)] as const;
  libzmq().zmq_version(parts[0], parts[1], parts[2]);
  return parts.map((part) => part[0]).join(".");
}

const Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/** Encodes bytes, a multiple of four, as Z85 text (ZeroMQ RFC 32). */
export function z85Encode(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    let value = view.getUint32(at);
    let group = "";
    for (let digit = 0; digit < 5; digit++) {
      group = Z85[value % 85] + group;
      value = Math.floor(value / 85);
    }
    text += group;
  }
  return text;
}
