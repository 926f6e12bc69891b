/** Messages about names that do not exist. */
import { didYouMean } from "../workflow/did-you-mean.ts";

/** `There is no workflow "helo": did you mean "hello"?` */
export function thereIsNo(what: string, name: string, known: Iterable<string>): string {
  const near = didYouMean(name, known);
  return `There is no ${what} ${quote(name)}${near === undefined ? "." : `: ${near}`}`;
}

/** A piece of foreign text, short and with nothing in it that a terminal or a field separator would mind. */
export function quote(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return JSON.stringify(printable(short));
}

/** Text without control characters, but for tabs and line feeds. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "\u{fffd}");
}
