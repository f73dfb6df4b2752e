/**
 * Lists in HTTP header fields (RFC 9110 §5.6.1). Only spaces and tabs are white space (§5.6.3), and
 * only ASCII letters have two cases; JavaScript's `trim`, `\s` and `toLowerCase` know more.
 */

/** Removes spaces and tabs at both ends. */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Elements of a list without quoted strings; empty ones are ignored (§5.6.1.2). */
export function listElements(value: string | undefined): string[] {
  if (value === undefined) return [];
  return value
    .split(',')
    .map(trimBlanks)
    .filter((element) => element !== '');
}

/** Elements of a list of tokens that are compared without case. */
export function tokensOf(value: string | undefined): string[] {
  return listElements(value).map(lowerAscii);
}

/**
 * Whether an Accept header names `mediaType` (§12.5.1) and does not exclude it with `q=0`. Ranges
 * such as `*\/*` do not name it.
 */
export function accepts(accept: string | undefined, mediaType: string): boolean {
  return tokensOf(accept).some((element) => {
    const [range, ...parameters] = element.split(';').map(trimBlanks);
    return range === mediaType && !parameters.some((each) => /^q=0(\.0*)?$/.test(each));
  });
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
