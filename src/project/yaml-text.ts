/** Writes YAML as a person would, so that the files are readable. */

/** Words that every YAML reader takes for a plain string. */
const PLAIN = /^[A-Za-z/.][A-Za-z0-9 /._+@%=-]*$/;
const NOT_TEXT = /^(true|false|yes|no|on|off|null|y|n)$|[ ]$|^[.]+$/i;

/** A scalar: plain where it is unambiguous, otherwise in double quotes. */
export function yamlScalar(text: string): string {
  if (PLAIN.test(text) && !NOT_TEXT.test(text) && !/^\.?\d/.test(text)) return text;
  return quoted(text);
}

/** A scalar in double quotes. */
export function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Comment lines; characters that are not allowed in a comment are escaped. */
export function yamlComment(text: string, indent = ""): string {
  return text
    .split("\n")
    .map((line) => {
      const shown = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/.test(line)
        ? quoted(line)
        : line;
      return `${indent}# ${shown}`.trimEnd();
    })
    .join("\n");
}
