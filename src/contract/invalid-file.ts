/** How an invalid workflow file is told on one line. */

/** A file and its problem, of which the file's path is usually a part; the path is named once. */
export function invalidFileText({ path, error }: { readonly path: string; readonly error: string }): string {
  const [first = ""] = error.split("\n", 1);
  return first.startsWith(`${path}:`) ? first : `${path}: ${first}`;
}
