import { describe, expect, test } from "bun:test";
import { Masker, Sought } from "../../../src/agent/secrets/masker.ts";
import { type Spellings, spellingsOf } from "../../../src/agent/secrets/spellings.ts";

/** A small generator of numbers, so that a failure can be repeated. */
function randomOf(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Masks a text that comes in these pieces. */
function masked(sought: Sought, pieces: readonly Uint8Array[]): string {
  const masker = new Masker(() => sought);
  // As the reader of a pipe does, into the same array each time.
  const buffer = new Uint8Array(1 << 20);
  const out = pieces.map((piece) => {
    buffer.fill(0);
    buffer.set(piece);
    return Buffer.from(masker.push(buffer.subarray(0, piece.length)));
  });
  return Buffer.concat([...out, masker.end()]).toString();
}

/** Cuts bytes at random places, some of them twice. */
function cut(bytes: Uint8Array, random: (below: number) => number): Uint8Array[] {
  const places = Array.from({ length: random(12) }, () => random(bytes.length + 1)).sort((a, b) => a - b);
  return [...places, bytes.length].map((end, n) => bytes.subarray(places[n - 1] ?? 0, end));
}

/** What must come out, found the slow way: each occurrence of each pattern; what overlaps is one secret. */
function naively(text: string, patterns: readonly string[]): string {
  const isSecret = new Array<boolean>(text.length).fill(false);
  /** Whether the character belongs to the same occurrence as the one before it, or to one that overlaps it. */
  const isJoined = new Array<boolean>(text.length).fill(false);
  for (const pattern of patterns)
    for (let at = text.indexOf(pattern); at !== -1; at = text.indexOf(pattern, at + 1))
      for (let n = 0; n < pattern.length; n++) {
        isSecret[at + n] = true;
        if (n > 0) isJoined[at + n] = true;
      }
  return [...text].map((character, n) => (!isSecret[n] ? character : isJoined[n] ? "" : "***")).join("");
}

const soughtFor = (...exact: string[]): Sought =>
  new Sought([{ exact: exact.map((text) => Buffer.from(text)), breakable: [] }]);

describe("a masker", () => {
  test("finds what the slow way finds, however patterns overlap and wherever the text is cut", () => {
    for (let seed = 1; seed <= 3000; seed++) {
      const random = randomOf(seed);
      const letters = "ab\nc".slice(0, 2 + random(3));
      const word = (length: number) => Array.from({ length }, () => letters[random(letters.length)]).join("");
      const patterns = Array.from({ length: 1 + random(5) }, () => word(1 + random(6)));
      const text = word(random(80));
      const sought = soughtFor(...patterns);
      const bytes = Buffer.from(text);
      const found = masked(sought, cut(bytes, random));
      expect({ seed, patterns, text, found }).toEqual({
        seed,
        patterns,
        text,
        found: naively(text, patterns),
      });
      expect(sought.mask(text)).toBe(found);
    }
  });

  test("holds back only what may be the beginning of a secret", () => {
    const masker = new Masker(() => soughtFor("hunter2"));
    const push = (text: string) => Buffer.from(masker.push(Buffer.from(text))).toString();
    expect([push("the hun"), push("t"), push(" is on\nhunter"), push("2!"), push("hunter")]).toEqual([
      "the ",
      "",
      "hunt is on\n",
      "***!",
      "",
    ]);
    expect(Buffer.from(masker.end()).toString()).toBe("hunter");
  });

  test("does not hold back the end of a line because it may be the beginning of something encoded", () => {
    const secret = "correct horse battery staple";
    const masker = new Masker(() => sought);
    const sought = new Sought([spellingsOf(secret)]);
    const beginning = Buffer.from(secret).toString("base64").slice(0, 10);
    const line = Buffer.from(`${beginning}\n`);
    expect(Buffer.from(masker.push(line)).toString()).toBe(`${beginning}\n`);
  });

  test("keeps no more than the longest secret, whatever comes", () => {
    const masker = new Masker(() => sought);
    const sought = soughtFor("a".repeat(100));
    let out = "";
    for (let n = 0; n < 1000; n++) out += Buffer.from(masker.push(Buffer.from("a".repeat(1000)))).toString();
    out += Buffer.from(masker.end()).toString();
    // One secret without an end.
    expect(out).toBe("***");
  });

  test("looks for secrets that become known while it reads, also in what it has held back", () => {
    let sought: Sought | undefined;
    const masker = new Masker(() => sought);
    const push = (text: string) => Buffer.from(masker.push(Buffer.from(text))).toString();
    expect(push("hunter2 ")).toBe("hunter2 ");
    sought = soughtFor("hunter2");
    expect(push("hunter2 hunt")).toBe("*** ");
    sought = soughtFor("hunter2", "huntsman");
    expect(push("sman hunter2")).toBe("*** ***");
  });
});

const SECRETS = [
  "hunter2",
  "pass",
  "correct horse battery staple",
  `p@ss/w"ord's\\end$(x)\`y\``,
  "çødé-ñ€w-漢字-🎉",
  "<html>&amp;+%20",
  "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\nC7VJTUt9Us8cKjMzEfYyjiWA4R4\n-----END KEY-----",
  "x".repeat(3000),
];

/** A piece of a text in the middle, long enough to be told from anything else. */
function middleOf(text: string): string {
  return text.length < 12 ? text : text.slice(4, Math.max(12, text.length - 4));
}

describe("spellings", () => {
  const forms: Readonly<Record<string, (secret: string) => string>> = {
    raw: (secret) => secret,
    JSON: (secret) => JSON.stringify({ password: secret }),
    "JSON in ASCII": (secret) =>
      JSON.stringify(secret).replace(
        /[^\x00-\x7e]/g,
        (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
      ),
    "JSON of Go": (secret) =>
      JSON.stringify(secret).replace(
        /[<>&]/g,
        (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
      ),
    "JSON of PHP": (secret) => JSON.stringify(secret).replaceAll("/", "\\/"),
    "a URL": (secret) => `https://user:${encodeURIComponent(secret)}@host/`,
    "a URL in lower case": (secret) =>
      encodeURIComponent(secret).replace(/%../g, (code) => code.toLowerCase()),
    "a form": (secret) => new URLSearchParams({ password: secret }).toString(),
    "a strict URL": (secret) =>
      encodeURIComponent(secret).replace(
        /[!'()*]/g,
        (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
      ),
    hex: (secret) => Buffer.from(secret).toString("hex"),
    HEX: (secret) => Buffer.from(secret).toString("hex").toUpperCase(),
    "hex in lines": (secret) => Buffer.from(secret).toString("hex").replace(/.{60}/g, "$&\n"),
    base64: (secret) => Buffer.from(secret).toString("base64"),
    "base64 of a line": (secret) => Buffer.from(`${secret}\n`).toString("base64"),
    base64url: (secret) => Buffer.from(secret).toString("base64url"),
    "base64 in lines of 76": (secret) => Buffer.from(secret).toString("base64").replace(/.{76}/g, "$&\n"),
    "base64 in lines of 64": (secret) => Buffer.from(secret).toString("base64").replace(/.{64}/g, "$&\r\n"),
    "a quoted word": (secret) => `'${secret.replaceAll("'", "'\\''")}'`,
    "a word of Python": (secret) => `'${secret.replaceAll("'", `'"'"'`)}'`,
    "a double-quoted word": (secret) => `"${secret.replace(/[\\"$`]/g, "\\$&")}"`,
  };

  test.each(Object.entries(forms))("%s is masked, wherever it is cut", (_, form) => {
    for (const [seed, secret] of SECRETS.entries()) {
      const sought = new Sought([spellingsOf(secret)]);
      const spelled = form(secret);
      const text = `before ${spelled} after\n`;
      const whole = sought.mask(text);
      const lines = spelled.split(/\r?\n/).map(middleOf).filter(Boolean);
      for (const line of lines)
        expect({ secret, text: whole.includes(line) }).toEqual({ secret, text: false });
      expect(whole).toStartWith("before ");
      expect(whole).toEndWith(" after\n");
      expect(whole).toContain("***");
      const random = randomOf(seed + 1);
      for (let n = 0; n < 30; n++) expect(masked(sought, cut(Buffer.from(text), random))).toBe(whole);
    }
  });

  test("base64 is found at each offset, such as after a user name", () => {
    for (const secret of SECRETS) {
      const sought = new Sought([spellingsOf(secret)]);
      for (const user of ["", "a", "ab", "abc", "admin:"])
        for (const after of ["", "!", "!!", "!!!"]) {
          const encoded = Buffer.from(`${user}${secret}${after}`).toString("base64");
          const shown = sought.mask(`Authorization: Basic ${encoded}`);
          expect(shown).toContain("***");
          // At each end, a character may be left that has some bits of the secret.
          const rest = shown.replace(/=+$/, "").split(/\*+/).slice(1).join("");
          expect(rest.length).toBeLessThanOrEqual(1 + Math.ceil((after.length * 8 + 4) / 6));
        }
    }
  });

  test("lines of a secret are masked alone, if they are long enough to be told from other text", () => {
    const secret = "first line\nx\nsecond line\n";
    const sought = new Sought([spellingsOf(secret)]);
    expect(sought.mask("a second line, x, first line")).toBe("a ***, x, ***");
  });

  test("other text is left alone", () => {
    const spellings: Spellings[] = SECRETS.slice(0, 6).map((secret) => spellingsOf(secret));
    const sought = new Sought(spellings);
    const text =
      "The quick brown fox jumps over the lazy dog; 0123456789 ABCDEF abcdef ÄÖÜ 漢 \\u00e9 %20 +\n";
    expect(sought.mask(text.repeat(50))).toBe(text.repeat(50));
  });
});
