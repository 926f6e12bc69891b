/**
 * The spellings in which a secret may show up in what a task prints: as it is, line by line, in base64, in hex, and as URLs, JSON and shells
 * quote it.
 */

/** What to look for. */
export interface Spellings {
  /** Each as it is. */
  readonly exact: readonly Uint8Array[];
  /** Programs break these into lines of any length: line breaks within them do not count. */
  readonly breakable: readonly Uint8Array[];
}

/** The shortest line of a secret with several lines that is looked for by itself, bytes. */
const SHORTEST_LINE = 8;

/** The spellings of a secret. */
export function spellingsOf(secret: string): Spellings {
  const bytes = Buffer.from(secret);
  const exact = new Set([
    secret,
    ...linesOf(secret),
    ...inJson(secret),
    ...inUrls(secret),
    ...inShells(secret),
  ]);
  const breakable = new Set([...inBase64(bytes), bytes.toString("hex"), bytes.toString("hex").toUpperCase()]);
  return { exact: toBytes(exact), breakable: toBytes(breakable) };
}

function toBytes(texts: ReadonlySet<string>): Uint8Array[] {
  return [...texts].map((text) => Buffer.from(text));
}

/** A program may print a line of it, such as one of a private key. */
function linesOf(secret: string): string[] {
  if (!secret.includes("\n")) return [];
  return secret
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => Buffer.byteLength(line) >= SHORTEST_LINE);
}

/**
 * In base64, with the characters `+/` or `-_`. The secret may be anywhere in what was encoded, so its first byte is the first, second or
 * third of a group. Characters that it shares with its neighbours are left out, except at the end of a text.
 */
function inBase64(secret: Buffer): string[] {
  const found = [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), secret]).toString("base64");
    const whole = Math.floor(((shift + secret.length) * 8) / 6);
    return encoded.slice(Math.ceil((shift * 8) / 6), whole);
  });
  for (const end of ["", "\n", "\r\n"])
    found.push(
      Buffer.concat([secret, Buffer.from(end)])
        .toString("base64")
        .replace(/=+$/, ""),
    );
  return found.flatMap((text) => [text, text.replaceAll("+", "-").replaceAll("/", "_")]);
}

/** In a JSON string: as most libraries write it, without any characters beyond ASCII, with `\/`, and with what HTML must not contain. */
function inJson(secret: string): string[] {
  const plain = JSON.stringify(secret).slice(1, -1);
  const escaped = (text: string, characters: RegExp, isUpper = false) =>
    text.replace(characters, (character) => {
      const code = character.charCodeAt(0).toString(16).padStart(4, "0");
      return `\\u${isUpper ? code.toUpperCase() : code}`;
    });
  const ascii = escaped(plain, /[\x7f-\uffff]/g);
  const html = escaped(plain, /[<>&\u2028\u2029]/g);
  const forms = [plain, ascii, html, escaped(plain, /[\x7f-\uffff]/g, true), escaped(ascii, /[<>&]/g)];
  return forms.flatMap((form) => [form, form.replaceAll("/", "\\/")]);
}

/** What libraries leave as it is in a URL, besides letters and digits. */
const LEFT_IN_URLS = ["-_.~", "-_.~/", "-_.!~*'()", "-_.*", "-_."];

/** Percent-encoded, with a space as `%20` or `+`. */
function inUrls(secret: string): string[] {
  return LEFT_IN_URLS.flatMap((left) => {
    const encoded = [...secret].map((character) =>
      /[A-Za-z0-9]/.test(character) || left.includes(character) ? character : percent(character),
    );
    const upper = encoded.join("");
    const lower = encoded.map((part) => (part.startsWith("%") ? part.toLowerCase() : part)).join("");
    return [upper, lower, upper.replaceAll("%20", "+"), lower.replaceAll("%20", "+")];
  });
}

function percent(character: string): string {
  return Array.from(
    Buffer.from(character),
    (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`,
  ).join("");
}

/** Within single quotes, double quotes, or with a backslash before each special character. */
function inShells(secret: string): string[] {
  return [
    secret.replaceAll("'", "'\\''"),
    secret.replaceAll("'", `'"'"'`),
    secret.replaceAll("\\", "\\\\").replaceAll("'", "\\'"),
    secret.replaceAll("\\", "\\\\"),
    secret.replace(/[\\"$`]/g, "\\$&"),
    secret.replace(/[^A-Za-z0-9_@%+=:,./\-\u0080-\u{10ffff}]/gu, "\\$&"),
  ];
}
