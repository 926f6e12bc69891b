/**
 * The style of a cell, packed into a number: foreground, background, attributes. It uses only the sixteen colours of the user's
 * terminal theme, and never black or white on their own, so that both dark and light backgrounds are readable.
 */

/** Bits 0–4 foreground, 5–9 background (0 is the default, 1–16 the palette), attributes from bit 10 on. */
export type Style = number;

const ATTRIBUTES = 10;

/** The terminal's default colours. */
export const PLAIN: Style = 0;
export const RED: Style = 2;
export const GREEN: Style = 3;
export const YELLOW: Style = 4;
export const BLUE: Style = 5;
export const MAGENTA: Style = 6;
export const CYAN: Style = 7;
export const BOLD: Style = 1 << ATTRIBUTES;
export const DIM: Style = 1 << (ATTRIBUTES + 1);
const ITALIC: Style = 1 << (ATTRIBUTES + 2);
export const UNDERLINE: Style = 1 << (ATTRIBUTES + 3);
export const INVERSE: Style = 1 << (ATTRIBUTES + 4);

const COLOUR_BITS = 31;

/** The escape sequence that sets `style`, whatever was set before. Without colour only attributes remain. */
export function sgr(style: Style, colour: boolean): string {
  let codes = "0";
  if (style & BOLD) codes += ";1";
  if (style & DIM) codes += ";2";
  if (style & ITALIC) codes += ";3";
  if (style & UNDERLINE) codes += ";4";
  if (style & INVERSE) codes += ";7";
  if (colour) {
    const foreground = style & COLOUR_BITS;
    const background = (style >> 5) & COLOUR_BITS;
    if (foreground > 0) codes += `;${foreground <= 8 ? 29 + foreground : 81 + foreground}`;
    if (background > 0) codes += `;${background <= 8 ? 39 + background : 91 + background}`;
  }
  return `\x1b[${codes}m`;
}

/** `style` without its colours. */
export function colourless(style: Style): Style {
  return style & ~0x3ff;
}
