/** Types whose payload is text, without their parameters (RFC 6838 §4.2.8 for the suffixes). */
const TEXTUAL = /^(text\/.+|application\/(json|xml)|.+\+(json|xml))$/;

/** Whether a payload of this content type is text. */
export function isTextual(contentType: string): boolean {
  return TEXTUAL.test(contentType.split(';', 1)[0]!.trim().toLowerCase());
}
