/** The filter of a list as it is typed: words that must all occur, `!word` for one that must not. */

/** A test for what `filter` asks; small letters match capitals too. */
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
