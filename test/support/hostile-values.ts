/** Values that must reach a task as they are, through every door. */
export const HOSTILE_VALUES: readonly (readonly [about: string, value: string])[] = [
  ["quotes", `'"\`'''"""`],
  ["a command substitution", "$(touch pwned)`touch pwned`"],
  ["a variable", "$HOME ${HOME} %PATH% !!"],
  ["another command", "; touch pwned; && touch pwned | touch pwned\ntouch pwned"],
  ["an option", "-rf"],
  ["the end of options", "--"],
  ["a format", "%s%n%d{0}"],
  ["an expression", "${{ params.other }}"],
  ["half an expression", "${{ }} }} ${{"],
  ["a glob", "* ? [a-z] ~ {a,b}"],
  ["lines", "a\r\nb\n\nc\t\v\f"],
  ["control characters", "\u0001\u001b[31m\u007f"],
  ["backslashes", "\\n \\\\ \\u0000 \\"],
  [
    "every plane",
    [0x41, 0xe9, 0x20ac, 0x1f600, 0x2f800, 0xe0001, 0xf0000, 0x10fffd]
      .map((point) => String.fromCodePoint(point))
      .join(""),
  ],
  ["right to left", "\u202eabc\u2066\u200b\ufeff"],
  ["nothing", ""],
  ["blanks", "  "],
];
