/**
 * Labels of a connection, such as `app=ios`, with the syntax of Kubernetes' labels: a name of at
 * most 63 letters, digits and `-_.`, with an optional DNS name and `/` before it, and a value of
 * the same form, which may be empty. Pure.
 */
import { type Rejection, rejection } from '../process/errors.js';

export type Labels = ReadonlyMap<string, string>;

/** Bounds on the labels that one source (a token, a query) gives to a connection. */
const LABELS_MAX = 16;
const TEXT_BYTES_MAX = 512;

const PART = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const PREFIX = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const PREFIX_LENGTH_MAX = 253;
/** Maximum characters of an invalid name or value that an error repeats. */
const SHOWN_MAX = 80;

/** Why a name is invalid; undefined for a valid one. */
export function labelNameProblem(name: string): string | undefined {
  const slash = name.indexOf('/');
  const prefix = slash < 0 ? undefined : name.slice(0, slash);
  const isPrefixValid =
    prefix === undefined || (prefix.length <= PREFIX_LENGTH_MAX && PREFIX.test(prefix));
  if (isPrefixValid && PART.test(name.slice(slash + 1))) return undefined;
  return (
    `the label name ${shown(name)} is invalid; it must be at most 63 of A-Z a-z 0-9 - _ . that begin ` +
    'and end with a letter or digit, with an optional DNS name and / before them'
  );
}

/** Why a value is invalid; undefined for a valid one. */
export function labelValueProblem(value: string): string | undefined {
  if (value === '' || PART.test(value)) return undefined;
  return (
    `the label value ${shown(value)} is invalid; it must be at most 63 of A-Z a-z 0-9 - _ . that ` +
    'begin and end with a letter or digit, or empty'
  );
}

/** Parses `app=ios,version=5.2`; labels are separated by commas or spaces. */
export function parseLabels(text: string): Labels | Rejection {
  const pairs: [string, string][] = [];
  for (const part of text.split(/[ ,]+/)) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    if (equals < 0) return invalid(`the label ${shown(part)} has no value; write name=value`);
    pairs.push([part.slice(0, equals), part.slice(equals + 1)]);
  }
  return checkPairs(pairs);
}

/** Reads the claim of a token: an object of strings, or text as `parseLabels` takes it. */
export function readLabelsClaim(claim: unknown): Labels | Rejection {
  if (claim === undefined || claim === null) return NONE;
  if (typeof claim === 'string') return parseLabels(claim);
  if (typeof claim !== 'object' || Array.isArray(claim)) {
    return invalid('the labels are neither an object of strings nor a string');
  }
  const pairs = Object.entries(claim);
  const other = pairs.find(([, value]) => typeof value !== 'string');
  if (other !== undefined) return invalid(`the value of the label ${shown(other[0])} is no string`);
  return checkPairs(pairs);
}

/** The text that `parseLabels` reads, the same for equal labels: sorted, separated by commas. */
export function labelsText(labels: Labels): string {
  if (labels.size === 0) return '';
  return Array.from(labels, ([name, value]) => `${name}=${value}`)
    .sort()
    .join(',');
}

/** Parses text that `labelsText` has made of valid labels. */
export function readLabelsText(text: string): Labels {
  const labels = parseLabels(text);
  if ('code' in labels) throw new Error(labels.message);
  return labels;
}

const NONE: Labels = new Map();

function checkPairs(pairs: readonly [string, string][]): Labels | Rejection {
  if (pairs.length > LABELS_MAX) {
    return invalid(`there are ${pairs.length} labels; the maximum is ${LABELS_MAX}`);
  }
  const labels = new Map<string, string>();
  let bytes = 0;
  for (const [name, value] of pairs) {
    const problem = labelNameProblem(name) ?? labelValueProblem(value);
    if (problem !== undefined) return invalid(problem);
    if (labels.has(name)) return invalid(`the label ${name} occurs twice`);
    labels.set(name, value);
    bytes += name.length + value.length + 2;
  }
  if (bytes - 1 <= TEXT_BYTES_MAX) return labels;
  return invalid(`the labels have ${bytes - 1} bytes; the maximum is ${TEXT_BYTES_MAX}`);
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, SHOWN_MAX));
}

function invalid(message: string): Rejection {
  return rejection('LABELS_INVALID', message);
}
