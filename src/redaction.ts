/** Redacts join tokens: one that was pasted in the wrong place must not end up in a log or a file. */

/** The prefix of every join token. */
export const JOIN_TOKEN_PREFIX = "cdktr-join-";

const JOIN_TOKEN = /cdktr-join-[A-Za-z0-9_-]{8,}/g;

/** The text with its join tokens redacted. */
export function withoutJoinTokens(text: string): string {
  return text.includes(JOIN_TOKEN_PREFIX) ? text.replace(JOIN_TOKEN, `${JOIN_TOKEN_PREFIX}…`) : text;
}
