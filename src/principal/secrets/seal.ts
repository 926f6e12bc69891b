/** Seals secrets for the disk: AES-256-GCM, bound to their names. */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

const CIPHER = "aes-256-gcm";
/** The first byte of what is sealed, for the case that there is ever another way. */
const FORM = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Length of a key, bytes. */
export const KEY_BYTES = 32;

/** Seals a secret: its form, a random nonce, the encrypted text and its tag. */
export function seal(key: Uint8Array, name: string, secret: string): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(name));
  return Buffer.concat([
    Buffer.of(FORM),
    nonce,
    cipher.update(secret, "utf8"),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
}

/** Opens what was sealed. Null if that was done with another key or for another name, or is damaged. */
export function unseal(key: Uint8Array, name: string, sealed: Uint8Array): string | null {
  const bytes = Buffer.from(sealed);
  if (bytes[0] !== FORM || bytes.length < 1 + NONCE_BYTES + TAG_BYTES) return null;
  try {
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(1, 1 + NONCE_BYTES))
      .setAAD(Buffer.from(name))
      .setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = bytes.subarray(1 + NONCE_BYTES, -TAG_BYTES);
    return Buffer.concat([decipher.update(text), decipher.final()]).toString("utf8");
  } catch {
    return null;
  }
}
