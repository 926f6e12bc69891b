/** Secrets that came where they do not belong: a join token pasted in the wrong place must not end in a log, or in a file. */

/** How every join token begins. */
export const JOIN_TOKEN_PREFIX = "cdktr-join-";

const JOIN_TOKEN = /cdktr-join-[A-Za-z0-9_-]{8,}/g;

/** A text with what is left of join tokens in it. */
export function withoutSecrets(text: string): string {
  return text.includes(JOIN_TOKEN_PREFIX) ? text.replace(JOIN_TOKEN, `${JOIN_TOKEN_PREFIX}…`) : text;
}
