/** "Did you mean …": the nearest of some known words. */

/**
 * Damerau–Levenshtein distance (optimal string alignment): insertions, deletions, replacements and swaps of adjacent characters, each
 * counting 1.
 */
export function editDistance(from: string, to: string): number {
  const a = [...from];
  const b = [...to];
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforePrevious[j - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** Longer words are not compared: they are rarely mistyped by just a letter or two, and the comparison is quadratic. */
const LONGEST = 256;
/** Maximum number of candidates to compare letter by letter. */
const MOST_COMPARED = 2000;

/**
 * The candidate that `word` was most likely meant to be, or `undefined` when none is close: up to a third of the longer word's
 * characters may differ, ignoring case. Among equally close candidates, one with the same letters in another order wins, otherwise the
 * first; of very many, only the first 2,000 of a similar length are compared.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word === "" || word.length > LONGEST) return undefined;
  const wanted = word.toLowerCase();
  let best: string | undefined;
  let compared = 0;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    if (candidate.length > LONGEST) continue;
    const allowed = Math.max(1, Math.floor(Math.max(candidate.length, word.length) / 3));
    if (Math.abs(candidate.length - word.length) > allowed) continue;
    const known = candidate.toLowerCase();
    if (known === wanted) return candidate;
    if (++compared > MOST_COMPARED) continue;
    const distance = editDistance(wanted, known);
    // If a single letter differs completely, it is another word, not a typo.
    if (distance > allowed || distance >= Math.max(wanted.length, known.length)) continue;
    const isSwapped = distance === bestDistance && lettersOf(known) === lettersOf(wanted);
    if (distance < bestDistance || isSwapped) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function lettersOf(word: string): string {
  return [...word].sort().join("");
}

/** `did you mean "x"?`, or `undefined` when no candidate is close. */
export function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  const near = nearest(word, candidates);
  return near === undefined ? undefined : `did you mean "${near}"?`;
}
