/** Memoizes the last result of a function for identical arguments. */
export function memo<A extends readonly unknown[], R>(compute: (...args: A) => R): (...args: A) => R {
  let last: { args: A; result: R } | undefined;
  return (...args) => {
    if (
      last !== undefined &&
      last.args.length === args.length &&
      last.args.every((arg, i) => arg === args[i])
    ) {
      return last.result;
    }
    const result = compute(...args);
    last = { args, result };
    return result;
  };
}
