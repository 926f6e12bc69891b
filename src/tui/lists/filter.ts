/** The filter of a list: all words must occur, a `!word` must not. */

/** Compiles `filter` into a test; lower case matches upper case too. */
export function matcher(filter: string): (text: string) => boolean {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return () => true;
  return (text) => {
    const lower = text.toLowerCase();
    return words.every((word) =>
      word.startsWith("!") ? word.length === 1 || !lower.includes(word.slice(1)) : lower.includes(word),
    );
  };
}
