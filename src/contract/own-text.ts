/**
 * A copy of a text that stands alone. What JavaScript cuts out of a text, by `slice` or `split`, keeps the whole of it in memory:
 * an id of 36 characters that is remembered would keep the batch of 64 KiB, or the request of 16 MiB, that it came with.
 * @param text without lone surrogates, as everything is that was UTF-8
 */
export function ownText(text: string): string {
  return Buffer.from(text).toString();
}
